package shift

import (
	"context"
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// An original that an autoscaler shrank meanwhile gets its traffic back in rampSteps, as
// soon as it has its pods again and each at the latest after rampWait.
const (
	rampSteps = 3
	rampWait  = 20 * time.Second
)

// RampTime is the longest that the way back may take for the original's sake.
const RampTime = rampSteps * rampWait

// end takes the way back.
func (r *Runner) end(ctx context.Context) (session.Outcome, error) {
	r.ramp(ctx)
	if r.watcher != nil {
		r.watcher.stop()
	}
	e := session.Ending{Store: r.Store, Namespace: r.Namespace, Route: r.Options.Route, ID: r.journal.Session, Known: r.current, Step: r.Report.Step}
	if r.shifted {
		e.Drain = r.drain()
	}
	out, err := e.Run(ctx)
	if !r.shifted && err == nil {
		// Nothing was shifted and nothing of ours is left: whether somebody else also
		// changed the Route is his affair.
		out.Foreign = out.Blind
	}
	r.event(ctx, "DebugSessionEnded", fmt.Sprintf("session %s of %s is over, the Route's backends are restored", r.journal.Session, r.journal.User))
	return out, err
}

// askTime bounds asking the sandbox for its connections.
const askTime = 5 * time.Second

// drain waits until the routers have let go, and tells what deleting the sandbox cuts.
func (r *Runner) drain() func(context.Context) error {
	endpoints := r.endpoints()
	wait := Drain(r.Drain, r.probes(), endpoints)
	return func(ctx context.Context) error {
		if err := wait(ctx); err != nil {
			return err
		}
		r.tellCut(ctx, endpoints)
		return nil
	}
}

// tellCut tells of connections that are still open: tunnels and long requests that an old
// process of the router keeps.
func (r *Runner) tellCut(ctx context.Context, endpoints []route.Endpoint) {
	if r.Connections == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for _, e := range endpoints {
		n, err := r.Connections(ctx, e.Pod, []int32{e.Port})
		switch {
		case err != nil:
			r.Report.Note("whether connections to %s are still open is not known: %v", e.Pod, err)
		case n > 0:
			r.Report.Warn("%d connection(s) to %s are still open (tunnels, long requests): they are cut now; a longer --drain lets them end", n, e.Pod)
		}
	}
}

// ramp gives an original that has fewer servers than before its traffic back in steps, so
// that its autoscaler can follow. It is a courtesy: whatever goes wrong, the restore comes.
func (r *Runner) ramp(ctx context.Context) {
	if !r.shifted || r.watcher == nil || len(r.facts.Namespace.Scaling(r.input.Program)) == 0 {
		return
	}
	before, from := r.facts.Servers()[r.input.Service.Name], r.journal.Realised
	for n := rampSteps; n > 0; n-- {
		slices := r.watcher.endpointSlices()
		now := len(route.Endpoints(r.current, r.input.Service.Name, slices))
		on, seen := r.watcher.currentRoute()
		s := sessionOf(on)
		if now >= before || len(r.endpoints()) == 0 || !seen || s == nil || s.State != session.Live || s.Journal == nil {
			return
		}
		r.Percent = from * float64(n-1) / rampSteps
		if n == 1 {
			return // the rest is the restore's
		}
		r.Report.Step("ramp", fmt.Sprintf("%s of new clients: %s has %d of %d servers", formatPercent(r.Percent), r.input.Program, now, before))
		r.current, r.journal.Asked = on, r.Percent
		originals, _ := session.Originals(on, s.Journal)
		if err := r.reweigh(ctx, r.Store, r.Percent, originals, slices); err != nil {
			r.Report.Warn("not slowly: %v", err)
			return
		}
		r.waitServers(ctx, before)
	}
}

// waitServers waits for the original to have its servers back, at most rampWait.
func (r *Runner) waitServers(ctx context.Context, want int) {
	timer := time.NewTimer(rampWait)
	defer timer.Stop()
	for len(route.Endpoints(r.current, r.input.Service.Name, r.watcher.endpointSlices())) < want {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-r.watcher.changed:
		}
	}
}
