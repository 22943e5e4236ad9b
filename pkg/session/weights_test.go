package session

import (
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// told notes whether it was warned of an earlier end.
type told struct{ warned bool }

func (*told) Step(string, string) {}
func (*told) Note(string, ...any) {}
func (t *told) Warn(err error)    { t.warned = reason.Is(err, reason.EndsEarlier) }

// However long its pods took to serve, a session ends before they reach their deadline.
func TestASessionEndsBeforeItsPods(t *testing.T) {
	built := time.Unix(10_000, 0)
	for _, c := range []struct {
		ttl, took, want time.Duration // want: from built
		warned          bool
	}{
		{30 * time.Minute, 20 * time.Second, 30*time.Minute + 20*time.Second, false},
		{record.Longest - time.Minute, 20 * time.Second, record.Longest - 40*time.Second, false},
		{record.Longest - time.Minute, 30 * time.Minute, record.Longest, true},
	} {
		report := &told{}
		r := &Runner{Report: report, Options: Options{Request: plan.Request{TTL: c.ttl}}, built: built}
		if got := r.expiry(built.Add(c.took)).Sub(built); got != c.want || report.warned != c.warned {
			t.Errorf("ttl %s, served after %s: ends after %s (warned: %v), wanted %s (%v)", c.ttl, c.took, got, report.warned, c.want, c.warned)
		}
	}
}
