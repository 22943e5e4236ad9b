package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// end takes the way back. failed is why the session ends, nil for its normal end.
func (r *Runner) end(ctx context.Context, failed error) (record.Outcome, error) {
	if wellEnded(failed) && r.shifted && r.watcher != nil && r.scales() {
		r.ramp(ctx)
	}
	if r.watcher != nil {
		r.watcher.stop()
	}
	e := store.Ending{Store: r.Store, Namespace: r.Namespace, Route: r.Options.Route, ID: r.journal.Session, Known: r.current, Step: r.Report.Step}
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
			report.Warn(reason.New(reason.ConnectionsOpen, "count", n, "pod", e.Pod))
		}
	}
}
