package recorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const megabyte = 1 << 20

// newRing makes a ring of 16 segments of 64 KiB.
func newRing(t *testing.T) (*Ring, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ring")
	r, err := NewRing(dir, megabyte, []string{"open", "exec"}, func() Meta { return Meta{Eras: []Era{{0, 7}}} })
	if err != nil {
		t.Fatal(err)
	}
	return r, dir
}

// record returns a record of some length with a number in it.
func record(n, length int) []byte {
	return binary.LittleEndian.AppendUint64(make([]byte, length-8), uint64(n))
}

// read returns the numbers of the records from a sequence number on, and checks them.
func read(t *testing.T, dir string, from uint64) (seqs []uint64) {
	t.Helper()
	err := Read(dir, from, func(r Record) error {
		if n := binary.LittleEndian.Uint64(r.Raw[len(r.Raw)-8:]); n != r.Seq {
			return fmt.Errorf("record %d has number %d", r.Seq, n)
		}
		if want := []string{"exec", "open"}[r.Seq%2]; r.Gadget != want {
			return fmt.Errorf("record %d is of gadget %s, want %s", r.Seq, r.Gadget, want)
		}
		if len(r.Meta.Eras) != 1 || r.Meta.Eras[0].Zero != 7 {
			return fmt.Errorf("record %d: %+v", r.Seq, r.Meta)
		}
		seqs = append(seqs, r.Seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seqs
}

// Records are read back in order. When the ring is full, the oldest go, and are counted.
func TestTheOldestRecordsGoFirst(t *testing.T) {
	r, dir := newRing(t)
	const records, length = 30_000, 92
	for n := 1; n <= records; n++ {
		if err := r.Append((n+1)%2, record(n, length)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	seqs := read(t, dir, 0)
	for i, seq := range seqs {
		if seq != seqs[0]+uint64(i) {
			t.Fatalf("record %d comes after %d", seq, seqs[i-1])
		}
	}
	gone := r.Gone()
	if len(seqs) < 9000 || seqs[len(seqs)-1] != records || gone["open"]+gone["exec"]+uint64(len(seqs)) != records {
		t.Errorf("%d records read, the last is %d, gone %v: want %d in all", len(seqs), seqs[len(seqs)-1], gone, records)
	}
	var size int64
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > megabyte {
		t.Errorf("the ring has %d bytes, may have %d", size, megabyte)
	}
	if from := seqs[len(seqs)/2]; len(read(t, dir, from)) != len(seqs)-len(seqs)/2 {
		t.Errorf("not all records from %d on are read", from)
	}
}

// What was flushed can be read while the ring is in use. A record that was not written as a whole is not read, and those
// before it are.
func TestARingInUse(t *testing.T) {
	r, dir := newRing(t)
	for n := 1; n <= 10; n++ {
		if err := r.Append((n+1)%2, record(n, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if seqs := read(t, dir, 0); len(seqs) != 0 {
		t.Errorf("%d records are read before they were flushed", len(seqs))
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if seqs := read(t, dir, 0); len(seqs) != 10 {
		t.Errorf("%d records, want 10", len(seqs))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(files[0], whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if seqs := read(t, dir, 0); len(seqs) > 9 {
			t.Fatalf("%d of %d bytes: %d records", cut, len(whole), len(seqs))
		}
	}
}

// Someone with root in the sandbox can write the files. Damaged ones are an error, and nothing is believed.
func TestDamagedSegments(t *testing.T) {
	for name, data := range map[string][]byte{
		"another file":        []byte("#!/bin/sh\necho hello, this is no recording\n"),
		"too long a head":     append([]byte(magic), 0xff, 0xff, 0xff, 0xff),
		"a head of no JSON":   append([]byte(magic), 2, 0, 0, 0, '{', '{'),
		"an unknown gadget":   append(segmentHead(`{"first":1,"gadgets":["open"]}`), 0, 0, 0, 0, 9, 0, 0, 0),
		"a record of 4 GiB":   append(segmentHead(`{"first":1,"gadgets":["open"]}`), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
		"a record without an": append(segmentHead(`{"first":1}`), 0, 0, 0, 0, 0, 0, 0, 0),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "1"+segmentSuffix), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Read(dir, 0, func(Record) error { return errors.New("a record") }); err == nil || err.Error() == "a record" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func segmentHead(meta string) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(meta))), meta...)
}
