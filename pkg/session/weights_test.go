package session

import (
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// warnRecorder records whether it was warned of an earlier end.
type warnRecorder struct{ warned bool }

func (*warnRecorder) Step(string, string) {}
func (*warnRecorder) Note(string, ...any) {}
func (t *warnRecorder) Warn(err error)    { t.warned = reason.Is(err, reason.EndsEarlier) }

// A session ends before its pods reach their deadline, however long they took to become ready.
func TestASessionEndsBeforeItsPods(t *testing.T) {
	built := time.Unix(10_000, 0)
	for _, c := range []struct {
		ttl, took, most, want time.Duration // want: from buildStarted; most: MaxDuration
		warned                bool
	}{
		{30 * time.Minute, 20 * time.Second, 0, 30*time.Minute + 20*time.Second, false},
		{record.Longest - time.Minute, 20 * time.Second, 0, record.Longest - 40*time.Second, false},
		{record.Longest - time.Minute, 30 * time.Minute, 0, record.Longest, true},
		{record.Longest - time.Minute, 30 * time.Minute, record.Longest, record.Longest, true},
		{time.Hour, 9 * time.Minute, time.Hour, time.Hour + 9*time.Minute, false},
		{time.Hour, 20 * time.Minute, time.Hour, time.Hour + record.Preparation, true},
	} {
		report := &warnRecorder{}
		r := &Runner{Report: report, Options: Options{MaxDuration: c.most, Request: plan.Request{TTL: c.ttl}}, buildStarted: built}
		if got := r.endTime(built.Add(c.took)).Sub(built); got != c.want || report.warned != c.warned {
			t.Errorf("ttl %s, ready after %s: ends after %s (warned: %v), want %s (%v)", c.ttl, c.took, got, report.warned, c.want, c.warned)
		}
	}
}
