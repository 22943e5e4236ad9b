package trace

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

const openEvent = `{"seq":1,"kind":"event","gadget":"open","event":{"pid":7,"comm":"app","open":{"path":"/etc/hosts","fd":3}}}`

// A sandbox's stream is read line by line. A line that is too long, is no frame, is out of order or is of
// a gadget that does not run ends it.
func TestTheFramesOfASandboxAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		rows   int // that are printed, with the head
		code   reason.Code
		err    string // part of the error; "" for none
	}{
		"nothing":           {"", 0, "", ""},
		"an event":          {openEvent + "\n", 2, "", ""},
		"without line end":  {openEvent, 2, "", ""},
		"half an event":     {openEvent[:40], 0, "", "unexpected end"},
		"text":              {openEvent + "\nsegmentation fault\n", 2, "", "invalid character"},
		"a number missing":  {openEvent + "\n" + strings.Replace(openEvent, `"seq":1`, `"seq":3`, 1), 2, reason.TraceFramesLost, "3"},
		"the same again":    {openEvent + "\n" + openEvent, 2, reason.TraceFramesLost, "1"},
		"another gadget":    {strings.Replace(openEvent, `"gadget":"open"`, `"gadget":"x\u001b[2J"`, 1), 0, "", `"x\x1b[2J"`},
		"a line of 64 KiB":  {strings.Replace(openEvent, "/etc/hosts", strings.Repeat("x", maxFrame), 1), 0, "", "token too long"},
		"a line of 64 MiB":  {strings.Repeat("x", 64<<20), 0, "", "token too long"},
		"two events a line": {openEvent + openEvent, 0, "", "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			in, out := io.Pipe()
			go func() {
				_, _ = io.Copy(out, strings.NewReader(c.stream)) // ends with the reader's error
				out.Close()
			}()
			var printed bytes.Buffer
			p, err := NewPrinter(&printed, "columns", true, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := &frameReader{pod: "a", gadgets: []string{"open"}, printer: p, status: func(gadget string, s frame.Status) { t.Log(gadget, s) }, note: func(s string) { t.Log(s) }, ledgers: Ledgers{}}
			err = r.read(in)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || reason.CodeOf(err) != c.code {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if rows := strings.Count(printed.String(), "\n"); rows != c.rows {
				t.Errorf("%d rows, want %d: %s", rows, c.rows, printed.String())
			}
		})
	}
}
