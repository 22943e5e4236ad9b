package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
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
	pins     bool         // requests can be pinned to a server by the router's cookie
	wanders  bool         // users are redirected to another place each time
}

// isSame reports whether an answer is as good as what users got before.
func (f routerProbe) isSame(a probe.Answer) bool {
	if f.wanders {
		a.Location = f.baseline.Location
	}
	return a.Same(f.baseline)
}

// isAcceptable reports whether an answer is as good as what users got before. With --force, any answer is that is no
// server error.
func (r *Runner) isAcceptable(f routerProbe, a probe.Answer) bool {
	return f.isSame(a) || r.Force && a.Status > 0 && a.Status < http.StatusInternalServerError
}

// takeBaselines sends a plain request to each router and keeps the answers. of has the endpoints of the
// Route's backends.
func (r *Runner) takeBaselines(ctx context.Context, on *routev1.Route, of []discoveryv1.EndpointSlice) error {
	var endpoints []route.Endpoint
	for _, b := range record.WeightsOf(on).Backends {
		endpoints = append(endpoints, route.Endpoints(on, b.Service, of)...)
	}
	if len(route.Hosts(on, "")) == 0 {
		return reason.New(reason.RouteHasNoHost, "namespace", on.Namespace, "route", on.Name)
	}
	r.routerProbes = nil
	for _, at := range probesOf(on, r.Routers) {
		f, err := r.firstBaseline(ctx, at)
		if err != nil {
			return err
		}
		f.pins = route.Sticky(on) && f.CanPin(f.baseline, endpoints)
		r.routerProbes = append(r.routerProbes, f)
	}
	return nil
}

// probesOf returns the probes to try at each router, one for each host of the Route. Without addresses of
// routers, each host leads to its own router.
func probesOf(on *routev1.Route, routers []string) (out [][]*probe.Probe) {
	if len(routers) == 0 {
		for _, host := range route.Hosts(on, "") {
			out = append(out, []*probe.Probe{probe.New(on, host, "")})
		}
	}
	for _, router := range routers {
		name, _, err := net.SplitHostPort(router)
		if err != nil {
			name = router
		}
		var tries []*probe.Probe
		for _, host := range route.Hosts(on, name) {
			tries = append(tries, probe.New(on, host, router))
		}
		out = append(out, tries)
	}
	return out
}

// firstBaseline takes the baseline of the first probe that is not answered 503: a router knows only its own host of
// a Route.
func (r *Runner) firstBaseline(ctx context.Context, tries []*probe.Probe) (f routerProbe, err error) {
	for _, p := range tries {
		if f, err = r.takeBaseline(ctx, p); !reason.Is(err, reason.RouterAnswers503) {
			return f, err
		}
	}
	return f, err
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
	f := routerProbe{Probe: p, baseline: answer}
	if answer.Location != "" {
		again, err := p.Plain(ctx)
		if err != nil {
			return routerProbe{}, reason.New(reason.RouterNotReached, "why", err)
		}
		f.wanders = again.Location != answer.Location
	}
	return f, nil
}

// canProve reports whether a request can be pinned to one server by cookie, at each router.
func (r *Runner) canProve() bool {
	return !r.NoProbe && len(r.routerProbes) > 0 && !slices.ContainsFunc(r.routerProbes, func(f routerProbe) bool { return !f.pins })
}

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

// CheckProof sends requests to the routers as users do. It warns if nothing can be proven there, and returns why users
// get no answer. The session must have been planned, by DryRun.
func (r *Runner) CheckProof(ctx context.Context) error {
	if err := r.takeBaselines(ctx, r.current, r.plan.Facts.Namespace.Slices); err != nil {
		return err
	}
	if !r.canProve() {
		r.Report.Warn(reason.New(reason.NotProven, "why", r.whyNotProvable()))
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
	case !route.Sticky(r.current):
		return "cookies are disabled on the Route"
	default:
		return "the router's cookie does not come through to clients"
	}
}

// proveEndpoint proves one endpoint at one router.
func (r *Runner) proveEndpoint(ctx context.Context, f routerProbe, e route.Endpoint) error {
	bad := 0
	for {
		answer, reached, err := f.Pinned(ctx, e)
		switch {
		case reached && r.isAcceptable(f, answer):
			if !f.isSame(answer) {
				r.Report.Warn(&reason.Forced{Refused: answersWorse(e, f, answer)})
			}
			r.Report.Note("%s answers %d through the router", e.Pod, answer.Status)
			return nil
		case reached:
			if bad++; bad >= badAnswerLimit {
				return answersWorse(e, f, answer)
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

// answersWorse is the error of a sandbox that does not answer as the original does.
func answersWorse(e route.Endpoint, f routerProbe, a probe.Answer) error {
	return reason.New(reason.SandboxAnswersWorse, "pod", e.Pod, "status", describeAnswer(a), "before", describeAnswer(f.baseline))
}

// describeAnswer returns an answer's status, and where it leads if it is a redirect.
func describeAnswer(a probe.Answer) string {
	if a.Location == "" {
		return strconv.Itoa(a.Status)
	}
	return fmt.Sprintf("%d (to %s)", a.Status, a.Location)
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
			if answer, err := f.Plain(ctx); ctx.Err() == nil && (err != nil || !r.isAcceptable(f, answer)) {
				return reason.New(reason.CanaryNotAnswered, "router", f, "status", describeAnswer(answer), "why", describeBadAnswer(answer, err), "before", describeAnswer(f.baseline))
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
