package gadget

import (
	"testing"
	"unicode/utf8"
	"unsafe"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/sidecar/recorder"
)

// FuzzDecode: whatever is in a record, it is an event of its gadget that can be written as JSON and read back, or an
// error. Someone with root in a sandbox can write into a recording.
func FuzzDecode(f *testing.F) {
	for name := range implementations {
		for _, length := range []int{0, 8, 103, 104, 4096} {
			f.Add(name, make([]byte, length))
		}
	}
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		aligned := make([]uint64, len(raw)/8+1) // as records of a ring are
		copy(bytesOf(aligned), raw)
		e, err := Decode(recorder.Record{Seq: 1, Gadget: name, Raw: bytesOf(aligned)[:len(raw)], Meta: &recorder.Meta{Eras: []recorder.Era{{Zero: 1}}}})
		if err != nil {
			return
		}
		text, err := e.AppendJSON(nil, "")
		if err != nil || !utf8.Valid(text) {
			t.Fatalf("%+v: %q, %v", e, text, err)
		}
		if _, err := describe.DecodeEvent(name, text); err != nil {
			t.Errorf("%s is not read back: %v", text, err)
		}
		e.Payload.Show()
		e.Payload.Key()
		e.Payload.Failed()
	})
}

// bytesOf returns the memory of words.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
}
