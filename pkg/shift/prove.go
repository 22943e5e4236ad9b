package shift

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/probe"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
)

const (
	probeEvery      = 100 * time.Millisecond
	drainedWithin   = time.Minute // until a pinned request no longer reaches the sandbox
	verifyMost      = 50          // unpinned probes after the first reload interval
	sampleFrom      = 20.0        // percent: below it, the share itself is not sampled
	canaryProbes    = 20
	smallestPercent = 0.1 // so little that the smallest weights come out
	badAnswers      = 3   // so many server errors in a row from a sandbox are its answer
)

// The router reloads at most once in its reload interval, 5 s by default and up to two
// minutes: what waits for a reload waits for some of them.
func (r *Runner) baselineWait() time.Duration { return r.ReloadInterval + time.Second }
func (r *Runner) proveWithin() time.Duration  { return max(time.Minute, 3*r.ReloadInterval) }
func (r *Runner) verifyFor() time.Duration    { return max(30*time.Second, 3*r.ReloadInterval) }
func (r *Runner) canaryTime() time.Duration   { return r.ReloadInterval + 3*time.Second }

// takeBaseline asks once as a user would, before anything is changed.
func (r *Runner) takeBaseline(ctx context.Context) error {
	r.probe = probe.New(r.facts.Route, r.Router)
	answer, err := r.probe.Plain(ctx)
	// A Route that was made a moment ago is served after the router's next reload.
	for end := time.Now().Add(r.baselineWait()); err == nil && answer.Status == http.StatusServiceUnavailable && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * probeEvery):
		}
		answer, err = r.probe.Plain(ctx)
	}
	if err != nil {
		return &preflight.Refusal{Check: "probe", Cause: err, Mend: "give the router's address with --router, or do without the proof with --no-probe"}
	}
	if answer.Status == http.StatusServiceUnavailable {
		return &preflight.Refusal{Check: "probe", Cause: fmt.Errorf("%s answers 503 already now", r.probe.URL()), Mend: "mend the Route first"}
	}
	r.baseline = answer
	return nil
}

// good says whether an answer is as good as what users got before.
func (r *Runner) good(a probe.Answer) bool { return a.OK() || a.Status == r.baseline.Status }

// provable says whether one server can be asked for by cookie.
func (r *Runner) provable() bool { return !r.NoProbe && route.Sticky(r.current) }

// prove sends a request to each sandbox endpoint through the real router, pinned by
// the router's own cookie, while its backend has weight 0 and no user is sent there.
func (r *Runner) prove(ctx context.Context) error {
	if !r.provable() {
		r.Report.Warn("not proven: %s; traffic starts with the smallest share", r.whyNot())
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.proveWithin(), &Timeout{"proof", r.proveWithin()})
	defer cancel()
	for _, e := range r.endpoints() {
		if err := r.proveOne(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) whyNot() string {
	switch {
	case r.NoProbe:
		return "--no-probe"
	case route.Passthrough(r.current):
		return "a passthrough Route has no cookie to pin a request with"
	default:
		return "the Route's cookies are off"
	}
}

func (r *Runner) proveOne(ctx context.Context, e route.Endpoint) error {
	bad := 0
	for {
		answer, reached, err := r.probe.Pinned(ctx, e)
		switch {
		case reached && r.good(answer):
			r.Report.Note("%s answers %d through the router", e.Pod, answer.Status)
			return nil
		case reached:
			if bad++; bad >= badAnswers {
				return fmt.Errorf("sandbox pod %s answers %d where users got %d: no user was sent there", e.Pod, answer.Status, r.baseline.Status)
			}
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) == context.Canceled {
				return ctx.Err()
			}
			return fmt.Errorf("sandbox pod %s is ready, but the router did not reach it within %s (last answer: %d, error: %v): a NetworkPolicy may keep the router out, or re-encryption fails; no user was sent there",
				e.Pod, r.proveWithin(), answer.Status, err)
		case <-time.After(probeEvery):
		}
	}
}

// verify asks as users do, and sees that they are answered and that the sandbox is
// among those who answer.
func (r *Runner) verify(ctx context.Context) error {
	if r.NoProbe {
		r.Report.Warn("not verified: --no-probe")
		return nil
	}
	mine := map[string]bool{}
	for _, e := range r.endpoints() {
		mine[e.Cookie()] = true
	}
	all := r.journal.Realised >= 100
	deadline := time.Now().Add(r.verifyFor())
	fails, seen, inRow := 0, 0, 0
	for n := 1; ; n++ {
		if s, err := r.onRoute(); err != nil || s == nil {
			return errors.Join(err, errors.New("the session was ended, by the guard or by somebody else, before it was verified"))
		}
		answer, err := r.probe.Plain(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !r.good(answer) {
			if fails++; fails >= 2 {
				return fmt.Errorf("users are no longer answered: %s gave %d (%v), before it was %d", r.probe.URL(), answer.Status, err, r.baseline.Status)
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
		case r.Percent < sampleFrom:
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
			return fmt.Errorf("the router does not send traffic to the sandbox: %d of %d requests answered by it within %s", seen, n, r.verifyFor())
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

// canary is the first step where nothing can be proven: the smallest share, and a look
// at how users fare with it.
func (r *Runner) canary(ctx context.Context) error {
	if err := r.setWeights(ctx, smallestPercent); err != nil {
		return err
	}
	for range canaryProbes {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.canaryTime() / canaryProbes):
		}
		if r.NoProbe {
			continue
		}
		if answer, err := r.probe.Plain(ctx); ctx.Err() == nil && (err != nil || !r.good(answer)) {
			return fmt.Errorf("users are no longer answered with the smallest share at the sandbox: %s gave %d (%v), before it was %d", r.probe.URL(), answer.Status, err, r.baseline.Status)
		}
	}
	return nil
}

// Drain waits until routers and connections have let go of a sandbox: at least for d,
// and on until a pinned request no longer reaches it.
func Drain(d time.Duration, p *probe.Probe, endpoints []route.Endpoint) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
		if p == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, drainedWithin)
		defer cancel()
		for _, e := range endpoints {
			for {
				_, reached, err := p.Pinned(ctx, e)
				if err == nil && !reached {
					break
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(probeEvery):
				}
			}
		}
		return nil
	}
}

// sessionOf is session.Of for a Route that may be gone.
func sessionOf(r *routev1.Route) *session.Session {
	if r == nil {
		return nil
	}
	return session.Of(r)
}
