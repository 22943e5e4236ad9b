package session

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

const (
	probeInterval     = 100 * time.Millisecond
	drainedTimeout    = time.Minute // for pinned requests to stop reaching the sandbox
	minVerifyProbes   = 50          // plain requests before verification may fail
	minSampledPercent = 20.0        // smaller shares are not sampled
	canaryProbes      = 20
	smallestPercent   = 0.1 // small enough to give the smallest weights
	badAnswerLimit    = 3   // bad answers of the sandbox that make the proof fail
)

// baselineWait and the times below allow for reloads of the router, which reloads at most once per
// reload interval (5 s by default, up to two minutes).
func (r *Runner) baselineWait() time.Duration  { return r.ReloadInterval + time.Second }
func (r *Runner) proofTimeout() time.Duration  { return max(time.Minute, 3*r.ReloadInterval) }
func (r *Runner) verifyTimeout() time.Duration { return max(30*time.Second, 3*r.ReloadInterval) }
func (r *Runner) canaryTime() time.Duration    { return r.ReloadInterval + 3*time.Second }

// routerProbe sends requests to one router as users do.
type routerProbe struct {
	*probe.Probe
	baseline probe.Answer // what users got before anything was changed
}

// isAcceptable reports whether an answer is as good as what users got before.
func (f routerProbe) isAcceptable(a probe.Answer) bool {
	return a.OK() || a.Status == f.baseline.Status
}

// takeBaselines sends a plain request to each router and keeps the answers.
func (r *Runner) takeBaselines(ctx context.Context, on *routev1.Route) error {
	routers := r.Routers
	if len(routers) == 0 {
		routers = []string{""} // the addresses that DNS has for the Route's host
	}
	r.routerProbes = nil
	for _, router := range routers {
		f, err := r.takeBaseline(ctx, probe.New(on, router))
		if err != nil {
			return err
		}
		r.routerProbes = append(r.routerProbes, f)
	}
	return nil
}

// takeBaseline sends a plain request to one router.
func (r *Runner) takeBaseline(ctx context.Context, p *probe.Probe) (routerProbe, error) {
	answer, err := p.Plain(ctx)
	// A Route that was created a moment ago is served after the router's next reload.
	for end := time.Now().Add(r.baselineWait()); err == nil && answer.Status == http.StatusServiceUnavailable && time.Now().Before(end); {
		if err := kube.Sleep(ctx, 5*probeInterval); err != nil {
			return routerProbe{}, err
		}
		answer, err = p.Plain(ctx)
	}
	if err != nil {
		return routerProbe{}, reason.New(reason.RouterNotReached, "why", err)
	}
	if answer.Status == http.StatusServiceUnavailable {
		return routerProbe{}, reason.New(reason.RouterAnswers503, "router", p)
	}
	return routerProbe{p, answer}, nil
}

// canProve reports whether a request can be pinned to one server by cookie.
func (r *Runner) canProve() bool { return !r.NoProbe && route.Sticky(r.current) }

// proveSandbox sends a request to each sandbox endpoint through the real router, pinned by the
// router's own cookie, while the sandbox's backend has weight 0 and no users are sent there.
func (r *Runner) proveSandbox(ctx context.Context) error {
	if !r.canProve() {
		r.Report.Warn(reason.New(reason.NotProven, "why", r.whyNotProvable()))
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.proofTimeout(), &Timeout{"proof", r.proofTimeout()})
	defer cancel()
	return r.proveEndpoints(ctx, r.sandboxEndpoints())
}

// proveEndpoints proves each endpoint at each router.
func (r *Runner) proveEndpoints(ctx context.Context, endpoints []route.Endpoint) error {
	for _, f := range r.routerProbes {
		for _, e := range endpoints {
			if err := r.proveEndpoint(ctx, f, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// whyNotProvable returns why nothing can be proven.
func (r *Runner) whyNotProvable() string {
	switch {
	case r.NoProbe:
		return "--no-probe"
	case route.Passthrough(r.current):
		return "a passthrough Route has no cookies"
	default:
		return "cookies are disabled on the Route"
	}
}

// proveEndpoint proves one endpoint at one router.
func (r *Runner) proveEndpoint(ctx context.Context, f routerProbe, e route.Endpoint) error {
	bad := 0
	for {
		answer, reached, err := f.Pinned(ctx, e)
		switch {
		case reached && f.isAcceptable(answer):
			r.Report.Note("%s answers %d through the router", e.Pod, answer.Status)
			return nil
		case reached:
			if bad++; bad >= badAnswerLimit {
				return reason.New(reason.SandboxAnswersWorse, "pod", e.Pod, "status", answer.Status, "before", f.baseline.Status)
			}
		}
		if ended := kube.Sleep(ctx, probeInterval); ended != nil {
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return ended
			}
			why := "none"
			if err != nil {
				why = err.Error()
			}
			return reason.New(reason.RouterDoesNotReachSandbox, "pod", e.Pod, "within", r.proofTimeout().String(), "status", answer.Status, "why", why)
		}
	}
}

// runCanary is the first step where nothing can be proven: it sets the smallest share and checks
// that users still get answers.
func (r *Runner) runCanary(ctx context.Context, slices []discoveryv1.EndpointSlice) error {
	if err := r.writeWeights(ctx, r.Store, smallestPercent, slices); err != nil {
		return err
	}
	for range canaryProbes {
		if err := kube.Sleep(ctx, r.canaryTime()/canaryProbes); err != nil {
			return err
		}
		for _, f := range r.routerProbes {
			if answer, err := f.Plain(ctx); ctx.Err() == nil && (err != nil || !f.isAcceptable(answer)) {
				return reason.New(reason.CanaryNotAnswered, "router", f, "status", answer.Status, "why", describeBadAnswer(answer, err), "before", f.baseline.Status)
			}
		}
	}
	return nil
}

// describeBadAnswer returns what is wrong with an answer, or why there is none.
func describeBadAnswer(a probe.Answer, err error) string {
	if err != nil {
		return err.Error()
	}
	return cmp.Or(http.StatusText(a.Status), "unknown status")
}

// sessionOf is record.Of for a Route that may be nil.
func sessionOf(r *routev1.Route) *record.Session {
	if r == nil {
		return nil
	}
	return record.Of(r)
}
