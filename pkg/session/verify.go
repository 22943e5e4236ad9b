package session

import (
	"context"
	"errors"
	"time"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
)

// verifyTraffic sends requests as users do, and checks that they are answered and that the sandbox
// answers some of them.
func (r *Runner) verifyTraffic(ctx context.Context) error {
	if r.NoProbe {
		r.Report.Warn(reason.New(reason.NotVerified))
		return nil
	}
	for _, f := range r.routerProbes {
		if err := r.verifyRouter(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// Where answers do not show which backend they are from, badUnpinned bad ones in all are too many, and there are
// enough requests for the sandbox to have answered some: unpinnedAnswers on average, at most maxUnpinned.
const (
	badUnpinned     = 3
	unpinnedAnswers = 5
	maxUnpinned     = 200
)

// unpinnedRequests returns how many requests the verification sends there.
func (r *Runner) unpinnedRequests() int {
	return int(min(max(10, unpinnedAnswers/float64(r.journal.Asked.Share())), maxUnpinned))
}

// verifyRouter verifies the traffic of one router.
func (r *Runner) verifyRouter(ctx context.Context, f routerProbe) error {
	sandboxCookies := map[string]bool{}
	for _, e := range r.sandboxEndpoints() {
		for _, value := range e.Cookies(r.current) {
			sandboxCookies[value] = true
		}
	}
	all := r.journal.Asked >= 100
	deadline := time.Now().Add(r.verifyTimeout())
	fails, allFails, seen, inRow := 0, 0, 0, 0
	for n := 1; ; n++ {
		if s, err := r.currentSession(); err != nil || s == nil {
			return errors.Join(err, reason.New(reason.SessionEndedMeanwhile))
		}
		answer, err := f.Plain(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !r.isAcceptable(f, answer) {
			fails++
			if allFails++; fails >= 2 || !f.pins && allFails >= badUnpinned {
				return reason.New(reason.UsersNotAnswered, "router", f, "status", describeAnswer(answer), "why", describeBadAnswer(answer, err), "before", describeAnswer(f.baseline))
			}
		} else {
			fails = 0
		}
		if sandboxCookies[answer.Cookie] {
			seen++
			inRow++
		} else {
			inRow = 0
		}
		switch {
		case fails > 0: // try once more
		case !f.pins:
			if n >= r.unpinnedRequests() {
				r.Report.Note("%d requests answered; without the router's cookie they do not show which backend answered", n)
				return nil
			}
		case r.journal.Asked < minSampledPercent:
			if n >= 10 {
				r.Report.Note("%d requests answered; shares below %g %% are not sampled, only proven", n, minSampledPercent)
				return nil
			}
		case all && inRow >= 10:
			r.Report.Note("%d requests in a row answered by the sandbox", inRow)
			return nil
		case !all && seen > 0:
			r.Report.Note("%d of %d requests answered by the sandbox", seen, n)
			return nil
		}
		if time.Now().After(deadline) && n >= minVerifyProbes {
			return reason.New(reason.RouterSendsNothing, "seen", seen, "asked", n, "within", r.verifyTimeout().String())
		}
		pause := probeInterval
		if all && inRow > 0 {
			pause = 0 // the router has the new weights: no need to wait between the remaining requests
		}
		if err := kube.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}
