package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Steps of the way back, in order.
const (
	StepRestore = "restore"
	StepDrain   = "drain"
	StepDelete  = "delete"
	StepClose   = "close"
)

// Ending ends a session: Route first, then what the session created, then the last
// mark. Every step may be repeated, so an ending that was interrupted is completed by
// another one.
type Ending struct {
	Store
	Namespace, Route, ID string
	// Known is the Route with the session's marks as it was last seen, nil to read it.
	Known *routev1.Route
	// Drain waits until routers and connections have let go of the sandbox; nil where
	// it never had traffic. Routers may go by what was for as long as late.
	Drain func(ctx context.Context, late time.Duration) error
	// Step is told each step before it begins.
	Step func(name, detail string)

	refusals kube.Refusals // of whoever ends the session
}

// StillReached is the error of a drain that ended with a router still sending requests to
// a pod: to delete it now would fail them.
type StillReached struct{ Pod string }

func (e *StillReached) Error() string { return e.Reason().Error() }

// Reason is one of the table's.
func (e *StillReached) Reason() *reason.Error {
	return reason.New(reason.SandboxStillUsed, "pod", e.Pod)
}

// Run ends the session. Only a router that is seen not to let go keeps the sandbox from
// being deleted.
func (e Ending) Run(ctx context.Context) (record.Outcome, error) {
	e.Step(StepRestore, fmt.Sprintf("route %s/%s", e.Namespace, e.Route))
	// Who began it has the rights; and an API server that was away may just not know yet who has.
	e.refusals.Allowed = e.Known != nil || e.Outage.Late(time.Now()) > 0
	var route *routev1.Route
	var out record.Outcome
	err := e.persist(ctx, StepRestore, func() (err error) {
		route, out, err = e.Restore(ctx, e.Namespace, e.Route, e.ID, e.Known)
		return err
	})
	if other := (*record.InSession)(nil); errors.As(err, &other) {
		// Somebody removed our marks, and another session is on the Route by now.
		if err := e.unused(ctx); err != nil {
			return out, errors.Join(other, err)
		}
		return record.Outcome{Foreign: true}, e.teardown(ctx)
	}
	if err != nil {
		return out, err
	}
	if route != nil && record.Of(route) == nil { // somebody pruned the label: later only the sandbox would lead here
		if err := e.close(ctx, route); err != nil {
			return out, err
		}
		route = nil
	}
	if e.Drain != nil {
		e.Step(StepDrain, "the router lets go of the sandbox")
		err := e.Drain(ctx, e.Outage.Late(time.Now()))
		if still := (*StillReached)(nil); errors.As(err, &still) {
			return out, &Leftovers{e.Namespace, []string{"pod/" + still.Pod, "service/" + record.ServiceName(e.ID)}, err}
		}
		if err != nil && ctx.Err() != nil {
			return out, err
		}
		if err != nil {
			e.Step(StepDrain, fmt.Sprintf("whether the router let go was not to be seen: %v", err))
		}
	}
	if err := e.teardown(ctx); err != nil {
		return out, err
	}
	e.Step(StepClose, "last mark on the Route")
	return out, e.close(ctx, route)
}

// close removes the last marks from the Route, which was last seen as r (nil: unknown).
func (e *Ending) close(ctx context.Context, r *routev1.Route) error {
	return e.persist(ctx, StepClose, func() error { return e.Close(ctx, e.Namespace, e.Route, e.ID, r) })
}

func (e *Ending) teardown(ctx context.Context) error {
	e.Step(StepDelete, "Service and pods of session "+e.ID)
	return e.persist(ctx, StepDelete, func() error {
		return e.Teardown(ctx, e.Namespace, e.Route, e.ID)
	})
}

// longestPause is the exponent of the longest pause between two tries of a step, 1.6 s.
const longestPause = 6

// persist repeats a step for as long as the API server may only be away and the context
// allows: nobody else may be there to end the session. Who waits is told once why.
func (e *Ending) persist(ctx context.Context, step string, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || away(err) {
			e.refusals.Served()
		}
		if err == nil || ctx.Err() != nil || !away(err) && !e.refusals.MayPass(err) {
			return err
		}
		if try == 1 {
			e.Step(step, fmt.Sprintf("not yet, trying on: %v", err))
		}
		if pause(ctx, min(try, longestPause)) != nil {
			return err
		}
	}
}

// away says whether an error may be the API server's absence, or its trouble, not its answer.
func away(err error) bool {
	var other *record.InSession
	var none *record.NoWayBack
	return Retriable(err) && !errors.As(err, &other) && !errors.As(err, &none)
}

// unused is an error where the Route still has our backend.
func (e Ending) unused(ctx context.Context) error {
	r, err := e.Routes.RouteV1().Routes(e.Namespace).Get(ctx, e.Route, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read route %s/%s: %w", e.Namespace, e.Route, err)
	}
	if record.HasBackend(r, e.ID) {
		return reason.New(reason.BackendLeftBehind, "namespace", e.Namespace, "route", e.Route, "service", record.ServiceName(e.ID))
	}
	return nil
}
