package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
)

// verify asks as users do, and sees that they are answered and that the sandbox is
// among those who answer.
func (r *Runner) verify(ctx context.Context) error {
	if r.NoProbe {
		r.Report.Warn(reason.New(reason.NotVerified))
		return nil
	}
	for _, f := range r.fronts {
		if err := r.verifyAt(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// verifyAt verifies at one router.
func (r *Runner) verifyAt(ctx context.Context, f front) error {
	mine := map[string]bool{}
	for _, e := range r.endpoints() {
		mine[e.Cookie()] = true
	}
	all := r.journal.Realised >= 100
	deadline := time.Now().Add(r.verifyFor())
	fails, seen, inRow := 0, 0, 0
	for n := 1; ; n++ {
		if s, err := r.onRoute(); err != nil || s == nil {
			return errors.Join(err, reason.New(reason.SessionEndedMeanwhile))
		}
		answer, err := f.Plain(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !f.good(answer) {
			if fails++; fails >= 2 {
				return reason.New(reason.UsersNotAnswered, "router", f, "status", answer.Status, "why", fmt.Sprint(err), "before", f.baseline.Status)
			}
		} else {
			fails = 0
		}
		if mine[answer.Cookie] {
			seen++
			inRow++
		} else {
			inRow = 0
		}
		switch {
		case fails > 0: // ask once more
		case !route.Sticky(r.current):
			if n >= 10 {
				r.Report.Note("%d requests answered; which side answered can't be told on this Route", n)
				return nil
			}
		case r.journal.Asked < sampleFrom:
			if n >= 10 {
				r.Report.Note("%d requests answered; below %g %% the share itself is not sampled, the proof counts", n, sampleFrom)
				return nil
			}
		case all && inRow >= 10:
			r.Report.Note("%d requests in a row answered by the sandbox", inRow)
			return nil
		case !all && seen > 0:
			r.Report.Note("%d of %d requests answered by the sandbox", seen, n)
			return nil
		}
		if time.Now().After(deadline) && n >= verifyMost {
			return reason.New(reason.RouterSendsNothing, "seen", seen, "asked", n, "within", r.verifyFor().String())
		}
		pause := probeEvery
		if all && inRow > 0 {
			pause = 0 // the router has the weights: the rest of the row needs no waiting
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
