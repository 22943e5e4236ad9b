package shift

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/pkg/probe"
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

// end takes the way back. failed is why the session ends, nil for its normal end.
func (r *Runner) end(ctx context.Context, failed error) (session.Outcome, error) {
	if wellEnded(failed) {
		r.ramp(ctx)
	}
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
	if err == nil {
		r.event(ctx, "DebugSessionEnded", fmt.Sprintf("session %s of %s is over, the Route's backends are restored", r.journal.Session, r.journal.User))
	}
	return out, err
}

// wellEnded says whether users were served by the sandbox until the session ended.
func wellEnded(failed error) bool {
	var expired *Expired
	var rolledOut *RolledOut
	return failed == nil || errors.As(failed, &expired) || errors.As(failed, &rolledOut)
}

// askTime bounds asking the sandbox for its connections.
const askTime = 5 * time.Second

// drain waits until the routers have let go, and tells what deleting the sandbox cuts.
func (r *Runner) drain() func(context.Context, time.Duration) error {
	endpoints := r.endpoints()
	var probes []*probe.Probe
	if r.provable() { // else a request can't be pinned, and who answers not be told
		probes = r.probes()
	}
	wait := Drain(r.Drain, probes, probes != nil && len(r.Routers) > 0, endpoints) // the Route's host may be several routers
	return func(ctx context.Context, late time.Duration) error {
		if err := wait(ctx, late); err != nil {
			return err
		}
		TellCut(ctx, r.Report, r.Connections, endpoints)
		return nil
	}
}

// TellCut tells of connections to the sandbox that are still open: tunnels and long requests
// that an old process of the router keeps. count counts those to ports of a pod; nil: it is
// not asked.
func TellCut(ctx context.Context, report Report, count func(ctx context.Context, pod string, ports []int32) (int, error), endpoints []route.Endpoint) {
	if count == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for _, e := range endpoints {
		n, err := count(ctx, e.Pod, []int32{e.Port})
		switch {
		case err != nil:
			report.Note("whether connections to %s are still open is not known: %v", e.Pod, err)
		case n > 0:
			report.Warn("%d connection(s) to %s are still open (tunnels, long requests): they are cut now; a longer --drain lets them end", n, e.Pod)
		}
	}
}

// ramp gives an original that has fewer servers than before its traffic back in steps, so
// that its autoscaler can follow. It is a courtesy: whatever goes wrong, and whatever
// somebody else gave the session meanwhile, the restore comes at once.
func (r *Runner) ramp(ctx context.Context) {
	if !r.shifted || r.watcher == nil || !r.scales() {
		return
	}
	before, from := r.facts.Servers()[r.input.Service.Name], 0.0
	store := r.Store
	store.Once = true
	for left := rampSteps - 1; left > 0; left-- {
		slices := r.watcher.endpointSlices()
		now := len(route.Endpoints(r.current, r.input.Service.Name, slices))
		on, _ := r.watcher.currentRoute()
		s := sessionOf(on)
		if now >= before || r.failing() || s == nil || s.Journal == nil || s.State != session.Live || r.outbid(on, s) != "" {
			return
		}
		if from == 0 {
			from = s.Journal.Realised
		}
		r.Percent = from * float64(left) / rampSteps
		r.Report.Step("ramp", fmt.Sprintf("%s of new clients: %s has %d of %d servers", formatPercent(r.Percent), r.input.Program, now, before))
		r.current, r.journal.Asked = on, r.Percent
		if err := r.reweigh(ctx, store, r.Percent, slices); err != nil {
			r.Report.Warn("not slowly: %v", err)
			return
		}
		r.waitServers(ctx, before)
	}
}

// scales says whether an autoscaler may have shrunk the original.
func (r *Runner) scales() bool { return len(r.facts.Namespace.Scaling(r.input.Program)) > 0 }

// lead is how long before the session's time is over this command ends it, so that the way
// back can be slow: the guard ends it at once.
func (r *Runner) lead() time.Duration {
	if !r.Guarded || !r.scales() || r.TTL < 4*RampTime {
		return 0
	}
	return RampTime
}

// failing says whether the sandbox can't be left with traffic.
func (r *Runner) failing() bool { return r.dead() != nil || len(r.endpoints()) == 0 }

// waitServers waits for the original to have its servers back, at most rampWait and no
// longer than the sandbox serves.
func (r *Runner) waitServers(ctx context.Context, want int) {
	timer := time.NewTimer(rampWait)
	defer timer.Stop()
	for !r.failing() && len(route.Endpoints(r.current, r.input.Service.Name, r.watcher.endpointSlices())) < want {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-r.watcher.changed:
		}
	}
}
