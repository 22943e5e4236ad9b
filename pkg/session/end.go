package session

import (
	"context"
	"errors"
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// it never had traffic.
	Drain func(context.Context) error
	// Step is told each step before it begins.
	Step func(name, detail string)
}

// StillReached is the error of a drain that ended with a router still sending requests to
// a pod: to delete it now would fail them.
type StillReached struct{ Pod string }

func (e *StillReached) Error() string {
	return fmt.Sprintf("a router still sends requests to pod %s although the Route is restored: see whether it reloads", e.Pod)
}

// Run ends the session. Only a router that is seen not to let go keeps the sandbox from
// being deleted.
func (e Ending) Run(ctx context.Context) (Outcome, error) {
	e.Step(StepRestore, fmt.Sprintf("route %s/%s", e.Namespace, e.Route))
	route, out, err := e.Restore(ctx, e.Namespace, e.Route, e.ID, e.Known)
	if other := (*InSession)(nil); errors.As(err, &other) {
		// Somebody removed our marks, and another session is on the Route by now.
		if err := e.unused(ctx); err != nil {
			return out, errors.Join(other, err)
		}
		e.Step(StepDelete, "Service and pods of session "+e.ID)
		return Outcome{Foreign: true}, e.Teardown(ctx, e.Namespace, e.Route, e.ID)
	}
	if err != nil {
		return out, err
	}
	if e.Drain != nil {
		e.Step(StepDrain, "the router lets go of the sandbox")
		err := e.Drain(ctx)
		if still := (*StillReached)(nil); errors.As(err, &still) {
			return out, &Leftovers{e.Namespace, []string{"pod/" + still.Pod, "service/" + ServiceName(e.ID)}, err}
		}
		if err != nil && ctx.Err() != nil {
			return out, err
		}
		if err != nil {
			e.Step(StepDrain, fmt.Sprintf("whether the router let go was not to be seen: %v", err))
		}
	}
	e.Step(StepDelete, "Service and pods of session "+e.ID)
	if err := e.Teardown(ctx, e.Namespace, e.Route, e.ID); err != nil {
		return out, err
	}
	e.Step(StepClose, "last mark on the Route")
	return out, e.Close(ctx, e.Namespace, e.Route, e.ID, route)
}

// unused is an error where the Route still has our backend.
func (e Ending) unused(ctx context.Context) error {
	r, err := e.Routes.RouteV1().Routes(e.Namespace).Get(ctx, e.Route, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read route %s/%s: %w", e.Namespace, e.Route, err)
	}
	for _, ref := range references(r) {
		if ref.Name == ServiceName(e.ID) {
			return fmt.Errorf("route %s/%s has backend %s and another session's mark: remove that backend first", e.Namespace, e.Route, ref.Name)
		}
	}
	return nil
}
