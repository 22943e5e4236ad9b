package trace

import (
	"strings"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// A summary has the most frequent first. What was counted weighs as much as what it stands for, and has a histogram; nothing
// of it can move a terminal's cursor.
func TestSummary(t *testing.T) {
	s := &Summary{}
	for _, p := range []gadget.Payload{
		&gadget.Open{Path: "/a"}, &gadget.Open{Path: "/b\x1b[2J", Error: "ENOENT"}, &gadget.Open{Path: "/b\x1b[2J", Error: "ENOENT"},
		&gadget.Syscalls{Name: "read", Count: 5, Total: time.Millisecond, Errors: map[string]uint64{"EAGAIN": 1, "EINTR": 3}, Buckets: []uint64{0, 4, 1}},
		&gadget.Syscalls{Name: "futex", Count: 900},
		&gadget.Syscalls{Name: "read", Count: 2, Buckets: []uint64{0, 0, 0, 2}},
	} {
		name := "open"
		if _, ok := p.(*gadget.Syscalls); ok {
			name = "syscalls"
		}
		if err := s.Print("pod", &gadget.Event{Gadget: name, Payload: p}); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := s.Write(&out, 1); err != nil {
		t.Fatal(err)
	}
	want := `GADGET    EVENTS  FAILED    WHAT
open      2       2 ENOENT  /b�[2J
open      1                 others
syscalls  900               futex
syscalls  7                 others
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := s.Write(&out, 5); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"syscalls  7       4, most EINTR  read\n", "\nread, 7 by how long they took:\n      < 4ns          4  " + strings.Repeat("#", 40) + "\n      < 8ns          1  ##########\n     < 16ns          2  " + strings.Repeat("#", 20) + "\n"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in\n%s", part, out.String())
		}
	}
}
