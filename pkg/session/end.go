package session

import (
	"context"
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
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

// Run ends the session. An error of drain does not keep the rest from being done.
func (e Ending) Run(ctx context.Context) (Outcome, error) {
	e.Step(StepRestore, fmt.Sprintf("route %s/%s", e.Namespace, e.Route))
	route, out, err := e.Restore(ctx, e.Namespace, e.Route, e.ID, e.Known)
	if err != nil {
		return out, err
	}
	if e.Drain != nil {
		e.Step(StepDrain, "the router lets go of the sandbox")
		if err := e.Drain(ctx); err != nil && ctx.Err() != nil {
			return out, err
		}
	}
	e.Step(StepDelete, "Service and pods of session "+e.ID)
	if err := e.Teardown(ctx, e.Namespace, e.Route, e.ID); err != nil {
		return out, err
	}
	e.Step(StepClose, "last mark on the Route")
	return out, e.Close(ctx, e.Namespace, e.Route, e.ID, route)
}
