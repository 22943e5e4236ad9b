package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// endSession rolls the session back. failed is why the session ends, nil for its normal end.
func (r *Runner) endSession(ctx context.Context, failed error) (record.Outcome, error) {
	if servedUntilEnd(failed) && r.shifted && r.watcher != nil && r.mayBeScaledDown() {
		r.shiftBackInSteps(ctx)
	}
	if r.watcher != nil {
		r.watcher.stop()
	}
	e := store.Ending{Store: r.Store, Namespace: r.Namespace, Route: r.Options.Route, ID: r.journal.Session, Known: r.current, Step: r.Report.Step}
	if r.shifted {
		e.Drain = r.drainFunc()
	}
	if r.BeforeDelete != nil && r.watcher != nil {
		target := r.target()
		e.BeforeDelete = func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, beforeDeleteTime)
			defer cancel()
			if err := r.BeforeDelete(ctx, target); err != nil {
				r.Report.Warn(err)
			}
		}
	}
	out, err := e.Run(ctx)
	if !r.shifted && err == nil {
		// Nothing was shifted and nothing of ours is left, so changes of others do not matter to
		// this session.
		out.Foreign = out.Blind
	}
	if err == nil {
		note := fmt.Sprintf("session %s of %s ended; the Route's backends were restored", r.journal.Session, r.journal.User)
		if out.Foreign {
			note += "; " + out.String()
		}
		r.writeEvent(ctx, "DebugSessionEnded", note)
	}
	return out, err
}

// beforeDeleteTime limits BeforeDelete. A guard finishes a session on its own once settings.Courtesy is over.
const beforeDeleteTime = settings.Courtesy * 3 / 4

// servedUntilEnd reports whether the sandbox served users until the session ended.
func servedUntilEnd(failed error) bool {
	var expired *Expired
	var rolledOut *RolledOut
	return failed == nil || errors.As(failed, &expired) || errors.As(failed, &rolledOut)
}

// connectionsTimeout limits how long counting open connections may take.
const connectionsTimeout = 5 * time.Second

// drainFunc returns the drain of the rollback, which also warns of connections that deleting the
// sandbox closes.
func (r *Runner) drainFunc() func(context.Context, time.Duration) error {
	endpoints := r.sandboxEndpoints()
	probes, all := r.probes()
	wait := Drain(r.Drain, probes, all && len(probes) > 0 && len(r.Routers) > 0, endpoints) // the Route's host may stand for several routers
	return func(ctx context.Context, late time.Duration) error {
		if err := wait(ctx, late); err != nil {
			return err
		}
		WarnOpenConnections(ctx, r.Report, r.Connections, endpoints)
		return nil
	}
}

// WarnOpenConnections warns of connections to the sandbox that are still open: tunnels and long
// requests, which an old process of the router keeps. count counts the connections to ports of a
// pod; if it is nil, nothing is checked.
func WarnOpenConnections(ctx context.Context, report Report, count func(ctx context.Context, pod string, ports []int32) (int, error), endpoints []route.Endpoint) {
	if count == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, connectionsTimeout)
	defer cancel()
	for _, e := range endpoints {
		n, err := count(ctx, e.Pod, []int32{e.Port})
		switch {
		case err == nil && n == 0:
		case err == nil:
			report.Warn(reason.New(reason.ConnectionsOpen, "count", n, "pod", e.Pod))
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			report.Note("could not check within %s whether connections to %s are still open", connectionsTimeout, e.Pod)
			return
		default:
			report.Note("cannot check whether connections to %s are still open: %v", e.Pod, err)
		}
	}
}
