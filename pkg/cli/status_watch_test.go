package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// On a terminal, the time that a session has left goes on although nothing was read. While the API
// server is away, the screen says since when. Text from the cluster stays on its line.
func TestTheScreenIsOfNow(t *testing.T) {
	var out, errOut bytes.Buffer
	streams := genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}
	a := &app{IOStreams: streams, raw: streams}
	s := &statusWatch{
		clients: &clients{clock: &kube.Clock{}}, statusPrinter: a.statusPrinter(&statusFlags{watch: true}), redraws: true,
		shown: map[string]shownStatus{"shop/web": {
			session.Status{
				Namespace: "shop", Route: "web", Session: "bcdfghjk", State: string(record.Live), Left: 90*time.Second + 500*time.Millisecond,
				Workload: "deployment/web", User: "alice\nweb  zzzzzzzz\x1b[2J",
			},
			time.Now().Add(-30 * time.Second),
		}},
	}
	s.draw()
	if screen := out.String(); !strings.HasPrefix(screen, home) || !strings.Contains(screen, "1m0s") || strings.Contains(screen, "not answered") {
		t.Errorf("screen:\n%q", screen)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 4 || strings.Contains(lines[3], "\x1b") {
		t.Errorf("screen, wanted the time, an empty line, a heading and a row:\n%q", lines)
	}
	out.Reset()
	s.failing = time.Now()
	s.draw()
	if !strings.Contains(out.String(), "The API server has not answered since "+clockTime(s.failing)) {
		t.Errorf("screen:\n%q", out.String())
	}
	out.Reset()
	s.shown = nil
	s.draw()
	if !strings.Contains(errOut.String(), "no session") {
		t.Errorf("screen without sessions: %q %q", out.String(), errOut.String())
	}
}
