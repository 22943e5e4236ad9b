// Package recorder is the flight recorder of a sandbox: it keeps the records of gadgets in files, from the program's
// first instruction on, whether or not a client is connected. The files are a ring: when it is full, the oldest go
// first, and what they had is counted.
package recorder

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	magic         = "OSCREC1\n"
	segmentSuffix = ".rec"
	segments      = 16 // that a full ring has
	writeBuffer   = 1 << 20
	// recordHeader is the length of a record's header: the length of its data and the index of its gadget.
	recordHeader = 8
	// maxRecord is the longest record that is read back, in bytes. Someone with root in the sandbox can write the files.
	maxRecord = 64 << 10
	maxMeta   = 256 << 10
)

// Meta is what a segment knows of its records. It comes first.
type Meta struct {
	First   uint64            `json:"first"` // sequence number of the first record, from 1
	Gadgets []string          `json:"gadgets"`
	Eras    []Era             `json:"eras"`
	Reasons map[int32]string  `json:"reasons,omitempty"` // names of the reasons of resets
	Gone    map[string]uint64 `json:"gone,omitempty"`    // records of each gadget that the ring no longer has
}

// Era is a time in which nobody set the wall clock.
type Era struct {
	Begin uint64 `json:"begin"` // ns, monotonic
	Zero  int64  `json:"zero"`  // Unix time in ns at which the monotonic clock was 0
}

// Ring writes records into segments. Its methods may be called from several goroutines.
type Ring struct {
	dir   string
	limit int64 // bytes of a segment
	meta  func() Meta

	mu      sync.Mutex
	file    *os.File
	buffer  *bufio.Writer
	size    int64
	next    uint64   // sequence number of the next record
	gadgets []string // by index
	kept    []segment
	gone    map[string]uint64
}

// segment is a file of the ring.
type segment struct {
	path   string
	counts []uint64 // records, by index of the gadget
}

// NewRing makes a ring of at most limit bytes in a folder, which it creates. meta returns what a new segment has to
// know; the ring sets First, Gadgets and Gone.
func NewRing(dir string, limit int64, gadgets []string, meta func() Meta) (*Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &Ring{dir: dir, limit: limit / segments, meta: meta, next: 1, gadgets: gadgets, gone: map[string]uint64{}}
	return r, r.rotate()
}

// Append appends a record of a gadget, given by its index.
func (r *Ring) Append(gadget int, raw []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	length := int64(recordHeader + len(raw))
	if r.size+length > r.limit {
		if err := r.rotate(); err != nil {
			return err
		}
	}
	var header [recordHeader]byte
	binary.LittleEndian.PutUint32(header[:], uint32(len(raw)))
	binary.LittleEndian.PutUint32(header[4:], uint32(gadget))
	if _, err := r.buffer.Write(header[:]); err != nil {
		return err
	}
	if _, err := r.buffer.Write(raw); err != nil {
		return err
	}
	r.size += length
	r.next++
	r.kept[len(r.kept)-1].counts[gadget]++
	return nil
}

// Flush writes what is buffered.
func (r *Ring) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buffer.Flush()
}

// Rotate begins a new segment, which has what the ring knows now.
func (r *Ring) Rotate() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rotate()
}

// Close writes what is buffered and closes the ring.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.buffer.Flush(), r.file.Close())
}

// Gone returns how many records of each gadget the ring no longer has.
func (r *Ring) Gone() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]uint64{}
	for name, n := range r.gone {
		out[name] = n
	}
	return out
}

// rotate ends the segment, deletes the oldest if there are too many, and begins a new one.
func (r *Ring) rotate() error {
	if r.file != nil {
		if err := errors.Join(r.buffer.Flush(), r.file.Close()); err != nil {
			return err
		}
	}
	for len(r.kept) >= segments {
		oldest := r.kept[0]
		if err := os.Remove(oldest.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for i, n := range oldest.counts {
			r.gone[r.gadgets[i]] += n
		}
		r.kept = r.kept[1:]
	}
	m := r.meta()
	m.First, m.Gadgets, m.Gone = r.next, r.gadgets, r.gone
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, fmt.Sprintf("%020d%s", r.next, segmentSuffix))
	if r.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return err
	}
	r.buffer = bufio.NewWriterSize(r.file, writeBuffer)
	head := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text)))
	if _, err := r.buffer.Write(append(head, text...)); err != nil {
		return err
	}
	if err := r.buffer.Flush(); err != nil { // for Newest
		return err
	}
	r.size = int64(len(head) + len(text))
	r.kept = append(r.kept, segment{path, make([]uint64, len(r.gadgets))})
	return nil
}

// Record is a record that was read back.
type Record struct {
	Seq    uint64
	Gadget string
	Raw    []byte // until the next record is read
	Meta   *Meta  // of its segment
}

// Read passes the records of a ring from sequence number from on to do, oldest first. A record that was not written as
// a whole ends the last segment. The ring may be in use.
func Read(dir string, from uint64, do func(Record) error) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	for i, path := range paths {
		if i+1 < len(paths) && firstOf(paths[i+1]) <= from {
			continue // all of its records are older
		}
		if err := readSegment(path, from, do); err != nil && !errors.Is(err, os.ErrNotExist) { // the oldest may go meanwhile
			return err
		}
	}
	return nil
}

// Newest returns what the newest segment of a ring knows, nil if there is none.
func Newest(dir string) (*Meta, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	f, err := os.Open(slices.Max(paths))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readMeta(f)
}

// firstOf returns the sequence number in a segment's name, 0 if there is none.
func firstOf(path string) (n uint64) {
	_, _ = fmt.Sscanf(strings.TrimLeft(filepath.Base(path), "0"), "%d", &n)
	return n
}

func readSegment(path string, from uint64, do func(Record) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, writeBuffer)
	meta, err := readMeta(in)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	if meta == nil {
		return nil // not written yet
	}
	raw := make([]byte, 0, 4<<10)
	for seq := meta.First; ; seq++ {
		var header [recordHeader]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return nil // the end, or a record that is not complete
		}
		length, index := binary.LittleEndian.Uint32(header[:]), binary.LittleEndian.Uint32(header[4:])
		if length > maxRecord || int(index) >= len(meta.Gadgets) {
			return fmt.Errorf("read %s: record %d is damaged", filepath.Base(path), seq)
		}
		raw = slices.Grow(raw[:0], int(length))[:length]
		if _, err := io.ReadFull(in, raw); err != nil {
			return nil
		}
		if seq < from {
			continue
		}
		if err := do(Record{seq, meta.Gadgets[index], raw, meta}); err != nil {
			return err
		}
	}
}

// readMeta reads what comes first in a segment, nil if it was not written as a whole.
func readMeta(in io.Reader) (*Meta, error) {
	head := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, nil
	}
	length := binary.LittleEndian.Uint32(head[len(magic):])
	if string(head[:len(magic)]) != magic || length > maxMeta {
		return nil, errors.New("not a segment of a recording")
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, nil
	}
	var m Meta
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	return &m, nil
}
