package trace

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
)

// A capture's reports come from the sandbox. Counts are read. Everything else is shown as text, escaped and up to a limit.
func TestReportsOfACapture(t *testing.T) {
	for _, c := range []struct {
		name, text, note, said string
		counted                uint64
	}{
		{name: "a capture", text: "{\"interfaces\":[\"lo\",\"eth0\"]}\n{\"counted\":{\"eth0\":{\"received\":7,\"delivered\":7}}}\n", note: "pod: capturing at lo, eth0", counted: 7},
		{name: "a failure", text: "osc-tracer: the filter cannot be used\n", said: "osc-tracer: the filter cannot be used"},
		{name: "escapes", text: "{\"interfaces\":[\"\\u001b[31mred\"]}\n", note: "pod: capturing at \ufffd[31mred"},
		{name: "no end", text: strings.Repeat("x", 3*maxStderr)},
		{name: "many lines", text: strings.Repeat(strings.Repeat("y", 1000)+"\n", 200), said: strings.TrimSpace(strings.Repeat(strings.Repeat("y", 1000)+" ", 66))},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, out := io.Pipe()
			go func() {
				_, err := io.WriteString(out, c.text)
				out.CloseWithError(err)
			}()
			var notes []string
			r := captureReader{pod: "pod", note: func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }}
			r.read(in)
			if strings.Join(notes, "\n") != c.note || r.said != c.said || r.counted["eth0"] != (pcapng.Statistics{Received: c.counted, Delivered: c.counted}) {
				t.Errorf("notes %q, said %d bytes %.80q, counted %v", notes, len(r.said), r.said, r.counted)
			}
		})
	}
}
