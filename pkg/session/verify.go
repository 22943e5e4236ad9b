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

// Where answers do not show which backend they are from, badUnpinned bad ones in all are too many. Once the router has
// had time for a reload, there are enough requests for the sandbox to have answered some: unpinnedAnswers on average, but
// at least minUnpinned and at most maxUnpinned. A slow router's answers are too few when the time is up; that is no fault.
const (
	badUnpinned     = 3
	unpinnedAnswers = 5
	minUnpinned     = 10
	maxUnpinned     = 200
)

// unpinnedRequests returns how many requests the verification sends there when the sandbox has the share asked.
func unpinnedRequests(asked route.Percent) int {
	if asked == 0 {
		return minUnpinned // no answer is expected from the sandbox
	}
	return int(min(max(minUnpinned, unpinnedAnswers/float64(asked.Share())), maxUnpinned))
}

// verifyRouter verifies the traffic of one router.
func (r *Runner) verifyRouter(ctx context.Context, f routerProbe) error {
	sandboxCookies := map[string]bool{}
	for _, e := range r.sandboxEndpoints() {
		for _, value := range e.Cookies(r.current) {
			sandboxCookies[value] = true
		}
	}
	all, before := r.journal.Asked >= 100, f.before("", "")
	start := time.Now()
	deadline, reloaded := start.Add(r.verifyTimeout()), start.Add(r.baselineWait())
	fails, allFails, seen, inRow, unpinned := 0, 0, 0, 0, 0
	for n := 1; ; n++ {
		timeIsUp := time.Now().After(deadline) && n >= minVerifyProbes
		if s, err := r.currentSession(); err != nil || s == nil {
			return errors.Join(err, reason.New(reason.SessionEndedMeanwhile))
		}
		if time.Now().After(reloaded) {
			unpinned++
		}
		answer, err := f.Plain(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !r.isAcceptable(f, answer, before) {
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
			if unpinned >= unpinnedRequests(r.journal.Asked) || timeIsUp {
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
		if timeIsUp && fails == 0 {
			return reason.New(reason.RouterSendsNothing, "seen", seen, "asked", n, "within", r.verifyTimeout().String())
		}
		pause := probeInterval
		if all && inRow > 0 || seen == 0 && n >= minVerifyProbes {
			// The router has the new weights, so nothing has to be waited for. Or it reloads so often that the sandbox's
			// turn never comes: with each reload, it begins with the servers of the largest weights.
			pause = 0
		}
		if err := kube.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}
