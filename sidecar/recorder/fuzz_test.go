package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead: whatever is in a segment, reading it ends, with records of bounded length or an error.
func FuzzRead(f *testing.F) {
	good := segmentHead(`{"first":1,"gadgets":["open"],"eras":[{"begin":0,"zero":1}]}`)
	f.Add(good)
	f.Add(append(good[:len(good):len(good)], 4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4))
	f.Add(append(good[:len(good):len(good)], 4, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4))
	f.Add(append(good[:len(good):len(good)], 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	f.Add(segmentHead(`{"first":18446744073709551615,"gadgets":null}`))
	f.Add([]byte(magic))
	dir := f.TempDir()
	path := filepath.Join(dir, fmt.Sprintf("%020d%s", 1, segmentSuffix))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read := 0
		err := Read(dir, 0, func(r Record) error {
			read++
			if len(r.Raw) > maxRecord || r.Meta == nil || r.Gadget == "" && len(r.Meta.Gadgets) == 0 {
				t.Errorf("%+v", r)
			}
			return nil
		})
		if read*recordHeader > len(data) {
			t.Errorf("%d records in %d bytes, %v", read, len(data), err)
		}
	})
}
