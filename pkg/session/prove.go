package session

import (
	"context"
	"fmt"
	"net/http"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
	"github.com/osc-debug/osc-debug/pkg/session/record"
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

// front is a router as users meet it.
type front struct {
	*probe.Probe
	baseline probe.Answer // what a user got before anything was changed
}

// good says whether an answer is as good as what users got before.
func (f front) good(a probe.Answer) bool { return a.OK() || a.Status == f.baseline.Status }

// takeBaselines asks each router once as a user would.
func (r *Runner) takeBaselines(ctx context.Context, on *routev1.Route) error {
	routers := r.Routers
	if len(routers) == 0 {
		routers = []string{""} // wherever DNS has the Route's host
	}
	r.fronts = nil
	for _, router := range routers {
		f, err := r.takeBaseline(ctx, probe.New(on, router))
		if err != nil {
			return err
		}
		r.fronts = append(r.fronts, f)
	}
	return nil
}

func (r *Runner) takeBaseline(ctx context.Context, p *probe.Probe) (front, error) {
	answer, err := p.Plain(ctx)
	// A Route that was made a moment ago is served after the router's next reload.
	for end := time.Now().Add(r.baselineWait()); err == nil && answer.Status == http.StatusServiceUnavailable && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return front{}, ctx.Err()
		case <-time.After(5 * probeEvery):
		}
		answer, err = p.Plain(ctx)
	}
	if err != nil {
		return front{}, reason.New(reason.RouterNotReached, "why", err)
	}
	if answer.Status == http.StatusServiceUnavailable {
		return front{}, reason.New(reason.RouterAnswers503, "router", p)
	}
	return front{p, answer}, nil
}

// provable says whether one server can be asked for by cookie.
func (r *Runner) provable() bool { return !r.NoProbe && route.Sticky(r.current) }

// prove sends a request to each sandbox endpoint through the real router, pinned by
// the router's own cookie, while its backend has weight 0 and no user is sent there.
func (r *Runner) prove(ctx context.Context) error {
	if !r.provable() {
		r.Report.Warn(reason.New(reason.NotProven, "why", r.whyNot()))
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.proveWithin(), &Timeout{"proof", r.proveWithin()})
	defer cancel()
	return r.proveAll(ctx, r.endpoints())
}

// proveAll proves each server of the sandbox at each router.
func (r *Runner) proveAll(ctx context.Context, endpoints []route.Endpoint) error {
	for _, f := range r.fronts {
		for _, e := range endpoints {
			if err := r.proveOne(ctx, f, e); err != nil {
				return err
			}
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

func (r *Runner) proveOne(ctx context.Context, f front, e route.Endpoint) error {
	bad := 0
	for {
		answer, reached, err := f.Pinned(ctx, e)
		switch {
		case reached && f.good(answer):
			r.Report.Note("%s answers %d through the router", e.Pod, answer.Status)
			return nil
		case reached:
			if bad++; bad >= badAnswers {
				return reason.New(reason.SandboxAnswersWorse, "pod", e.Pod, "status", answer.Status, "before", f.baseline.Status)
			}
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) == context.Canceled {
				return ctx.Err()
			}
			return reason.New(reason.RouterDoesNotReachSandbox, "pod", e.Pod, "within", r.proveWithin().String(), "status", answer.Status, "why", fmt.Sprint(err))
		case <-time.After(probeEvery):
		}
	}
}

// canary is the first step where nothing can be proven: the smallest share, and a look
// at how users fare with it.
func (r *Runner) canary(ctx context.Context, slices []discoveryv1.EndpointSlice) error {
	if err := r.reweigh(ctx, r.Store, smallestPercent, slices); err != nil {
		return err
	}
	for range canaryProbes {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.canaryTime() / canaryProbes):
		}
		for _, f := range r.fronts {
			if answer, err := f.Plain(ctx); ctx.Err() == nil && (err != nil || !f.good(answer)) {
				return reason.New(reason.CanaryNotAnswered, "router", f, "status", answer.Status, "why", fmt.Sprint(err), "before", f.baseline.Status)
			}
		}
	}
	return nil
}

// sessionOf is record.Of for a Route that may be gone.
func sessionOf(r *routev1.Route) *record.Session {
	if r == nil {
		return nil
	}
	return record.Of(r)
}
