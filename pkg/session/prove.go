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
	baseline probe.Answer // what a user got before anything was changed
	servers  []served     // what the original's servers answer, one of each kind, if there are several kinds
	pins     bool         // requests can be pinned to a server by the router's cookie
	wanders  bool         // users are redirected to another place each time
	dynamic  bool         // the router has the dynamic configuration manager
}

// served is what a server of the Route answers. Servers of one Service and port are of one kind.
type served struct {
	service, port string
	answer        probe.Answer
}

// before returns what users got before anything was changed: from the primary's servers on a port, or "" from any
// server.
func (f routerProbe) before(primary, port string) []probe.Answer {
	all, of := []probe.Answer{f.baseline}, []probe.Answer(nil)
	for _, s := range f.servers {
		all = append(all, s.answer)
		if s.service == primary && s.port == port {
			of = append(of, s.answer)
		}
	}
	if port == "" || of == nil {
		return all
	}
	return of
}

// isSame reports whether an answer is as good as one of those that users got before.
func (f routerProbe) isSame(a probe.Answer, before []probe.Answer) bool {
	return slices.ContainsFunc(before, func(b probe.Answer) bool {
		if f.wanders {
			a.Location = b.Location
		}
		return a.Same(b)
	})
}

// isAcceptable reports whether an answer is as good as what users got before. With --force, any answer is that is no
// server error.
func (r *Runner) isAcceptable(f routerProbe, a probe.Answer, before []probe.Answer) bool {
	return f.isSame(a, before) || r.Force && a.Status > 0 && a.Status < http.StatusInternalServerError
}

// takeBaselines sends a plain request to each router and keeps the answers. of has the endpoints of the
// Route's backends.
func (r *Runner) takeBaselines(ctx context.Context, on *routev1.Route, of []discoveryv1.EndpointSlice) error {
	var endpoints []route.Endpoint
	for _, b := range record.WeightsOf(on).Backends {
		if b.Weight == nil || *b.Weight > 0 {
			endpoints = append(endpoints, route.Endpoints(on, b.Service, of)...)
		}
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
		f.askServers(ctx, endpoints)
		r.routerProbes = append(r.routerProbes, f)
	}
	return nil
}

// plainSamples is how many plain requests stand for the servers of each kind where none can be pinned.
const plainSamples = 5

// askServers asks one server of each kind, if there are several kinds: users get the answers of all. Without pinned
// requests, it sends several plain ones. A server error is nothing that a sandbox may answer too.
func (f *routerProbe) askServers(ctx context.Context, endpoints []route.Endpoint) {
	kind := func(e route.Endpoint) route.Endpoint { return route.Endpoint{Service: e.Service, PortName: e.PortName} }
	var one []route.Endpoint
	for _, e := range endpoints {
		if !slices.ContainsFunc(one, func(o route.Endpoint) bool { return kind(o) == kind(e) }) {
			one = append(one, e)
		}
	}
	if len(one) < 2 {
		return
	}
	add := func(s served, err error) {
		if err == nil && s.answer.Status < http.StatusInternalServerError {
			f.servers = append(f.servers, s)
		}
	}
	for _, e := range one {
		if f.pins {
			if answer, reached, err := f.Pinned(ctx, e); reached {
				add(served{e.Service, e.PortName, answer}, err)
			}
			continue
		}
		for range plainSamples {
			answer, err := f.Plain(ctx)
			add(served{answer: answer}, err)
		}
	}
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

// proveEndpoints proves each endpoint at each router, and notes which routers have the dynamic configuration
// manager.
func (r *Runner) proveEndpoints(ctx context.Context, endpoints []route.Endpoint) error {
	for i, f := range r.routerProbes {
		for _, e := range endpoints {
			if err := r.proveEndpoint(ctx, f, e); err != nil {
				return err
			}
			r.routerProbes[i].dynamic = r.routerProbes[i].dynamic || f.KnowsDynamic(ctx, e)
		}
	}
	return nil
}

// sawDynamic reports whether a router has the dynamic configuration manager.
func (r *Runner) sawDynamic() bool {
	return slices.ContainsFunc(r.routerProbes, func(f routerProbe) bool { return f.dynamic })
}

// checkProof sends requests to the routers as users do. It warns if nothing can be proven there, and returns why users
// get no answer.
func (r *Runner) checkProof(ctx context.Context) error {
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
	bad, before := 0, f.before(r.current.Spec.To.Name, e.PortName)
	for {
		answer, reached, err := f.Pinned(ctx, e)
		switch {
		case reached && r.isAcceptable(f, answer, before):
			if !f.isSame(answer, before) {
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
			if answer, err := f.Plain(ctx); ctx.Err() == nil && (err != nil || !r.isAcceptable(f, answer, f.before("", ""))) {
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
