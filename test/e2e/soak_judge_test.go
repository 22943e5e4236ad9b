//go:build e2e && soak

package e2e

import (
	"slices"
	"time"
)

// judge prints a figure with its target and verdict, and fails the test on a miss.
func (e *env) judge(what string, ok bool, got, target string) {
	e.t.Helper()
	verdict := "met"
	if !ok {
		verdict = "MISSED"
		e.t.Fail()
	}
	summarize(e.t, "%-66s %-30s target %-22s %s", what, got, target, verdict)
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}
