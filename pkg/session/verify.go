package session

import (
	"context"
	"errors"
	"time"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
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

// verifyRouter verifies the traffic of one router.
func (r *Runner) verifyRouter(ctx context.Context, f routerProbe) error {
	sandboxCookies := map[string]bool{}
	for _, e := range r.sandboxEndpoints() {
		sandboxCookies[e.Cookie()] = true
	}
	all := r.journal.Realised >= 100
	deadline := time.Now().Add(r.verifyTimeout())
	fails, seen, inRow := 0, 0, 0
	for n := 1; ; n++ {
		if s, err := r.currentSession(); err != nil || s == nil {
			return errors.Join(err, reason.New(reason.SessionEndedMeanwhile))
		}
		answer, err := f.Plain(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !f.isAcceptable(answer) {
			if fails++; fails >= 2 {
				return reason.New(reason.UsersNotAnswered, "router", f, "status", answer.Status, "why", describeBadAnswer(answer, err), "before", f.baseline.Status)
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
		case !route.Sticky(r.current):
			if n >= 10 {
				r.Report.Note("%d requests answered; this Route does not show which backend answered", n)
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
