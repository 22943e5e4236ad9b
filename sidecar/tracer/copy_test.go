package tracer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// A file is sent from any offset on, with the checksum of all of it. What is no regular file is not sent.
func TestAFileIsSent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dump")
	const text = "0123456789"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for from := range int64(len(text)) + 1 {
		var out bytes.Buffer
		if err := Send(t.Context(), path, from, &out); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("{\"size\":10}\n%s{\"size\":10,\"sum\":%q}\n", text[from:], sumOf(text)); out.String() != want {
			t.Errorf("from %d: %q, want %q", from, out.String(), want)
		}
	}
	for name, c := range map[string]struct {
		path string
		from int64
	}{"a folder": {dir, 0}, "nothing": {path + "2", 0}, "behind the end": {path, 11}, "before the beginning": {path, -1}, "a device": {"/dev/zero", 0}} {
		var out bytes.Buffer
		if err := Send(t.Context(), c.path, c.from, &out); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, sent %q", name, err, out.String())
		}
	}
}

// A file is put in its place when it is whole. Nothing else is left, and what was there before stays.
func TestAFileIsReceived(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "script")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		expect frame.File
		in     string
		whole  bool
	}{
		"cut":              {frame.File{Size: 5, Sum: sumOf("hello")}, "hel", false},
		"another checksum": {frame.File{Size: 5, Sum: sumOf("hello")}, "hallo", false},
		"whole":            {frame.File{Size: 5, Sum: sumOf("hello")}, "hello", true},
		"nothing":          {frame.File{Size: 0, Sum: sumOf("")}, "", true},
	} {
		was, _ := os.ReadFile(path)
		err := Receive(t.Context(), path, c.expect, strings.NewReader(c.in))
		if (err == nil) != c.whole {
			t.Errorf("%s: %v", name, err)
		}
		want := string(was)
		if c.whole {
			want = c.in
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("%s: the file is %q, want %q", name, got, want)
		}
		if files, _ := os.ReadDir(dir); len(files) != 1 {
			t.Errorf("%s: %d files are left", name, len(files))
		}
	}
}

// A file is rejected before it is written if the volume would exceed its limit. The recorder's part is kept free for it.
func TestCheckRoom(t *testing.T) {
	dir := t.TempDir()
	const limit = 1 << 30
	free := int64(limit - spare)
	check := func(size int64, fits bool) {
		t.Helper()
		if err := checkRoom(dir, size, limit); (err == nil) != fits {
			t.Errorf("%d bytes fit: %v, want %t", size, err, fits)
		}
	}
	blocks := func() (n int64) { // of the folder itself
		var s unix.Stat_t
		if err := unix.Lstat(dir, &s); err != nil {
			t.Fatal(err)
		}
		return s.Blocks * 512
	}
	check(free-blocks(), true)
	check(free+1, false)
	const kept = 1 << 20
	if err := os.WriteFile(filepath.Join(dir, "capture.pcap"), make([]byte, kept), 0o600); err != nil {
		t.Fatal(err)
	}
	check(free-kept+1, false)
	recording := filepath.Join(dir, filepath.Base(frame.RecordingDir))
	if err := os.Mkdir(recording, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(recording, "status.json"), make([]byte, kept), 0o600); err != nil {
		t.Fatal(err)
	}
	free -= frame.RecordingLimit
	check(free-kept-2*blocks()-64<<10, true) // the state is in the recorder's part
	check(free-kept+1, false)
	if err := checkRoom(filepath.Join(dir, "none"), 1, limit); err != nil {
		t.Error(err)
	}
}
