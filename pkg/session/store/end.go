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

// Steps of the rollback, in order.
const (
	StepRestore = "restore"
	StepDrain   = "drain"
	StepDelete  = "delete"
	StepClose   = "close"
)

// Ending ends a session: it restores the Route, then deletes what the session created, then removes
// the last mark from the Route. Every step may be repeated, so another Ending can complete an
// interrupted one.
type Ending struct {
	Store
	Namespace, Route, ID string
	// Known is the Route with the session's marks as it was last seen, nil to read it.
	Known *routev1.Route
	// Drain waits until routers no longer send traffic to the sandbox; nil if it never had traffic.
	// Routers may use the old weights for as long as late.
	Drain func(ctx context.Context, late time.Duration) error
	// BeforeDelete is called after the drain, while the sandbox still exists; nil: nothing is.
	BeforeDelete func(ctx context.Context)
	// Step is called before each step begins.
	Step func(name, detail string)

	refusals kube.Refusals // of the user who ends the session
}

// StillReached is the error of a drain after which a router still sends requests to a pod. Deleting
// the pod would make them fail.
type StillReached struct{ Pod string }

func (e *StillReached) Error() string { return e.Reason().Error() }

// Reason implements reason.Reasoned.
func (e *StillReached) Reason() *reason.Error {
	return reason.New(reason.SandboxStillUsed, "pod", e.Pod)
}

// Run ends the session. If the drain fails with StillReached, the sandbox is kept and the error is
// *Leftovers. After other failures of the drain it is deleted, unless ctx has ended.
func (e Ending) Run(ctx context.Context) (record.Outcome, error) {
	e.Step(StepRestore, fmt.Sprintf("route %s/%s", e.Namespace, e.Route))
	// A user who started the session has the permissions. And after an outage, an API server may
	// reject requests only because it has not loaded the roles yet.
	e.refusals.Allowed = e.Known != nil || e.Outage.Late(time.Now()) > 0
	var route *routev1.Route
	var out record.Outcome
	err := e.retryStep(ctx, StepRestore, func() (err error) {
		route, out, err = e.Restore(ctx, e.Namespace, e.Route, e.ID, e.Known)
		return err
	})
	if other := (*record.InSession)(nil); errors.As(err, &other) {
		// Someone removed our marks, and the Route now has another session.
		if err := e.checkBackendRemoved(ctx); err != nil {
			return out, errors.Join(other, err)
		}
		return record.Outcome{Foreign: true, Gone: true}, e.deleteSandbox(ctx)
	}
	if err != nil {
		return out, err
	}
	if route != nil && record.Of(route) == nil { // someone removed the label: from now on only the sandbox leads to the Route
		if err := e.closeRoute(ctx, route); err != nil {
			return out, err
		}
		route = nil
	}
	if e.Drain != nil {
		e.Step(StepDrain, "wait until routers stop sending traffic to the sandbox")
		err := e.Drain(ctx, e.Outage.Late(time.Now()))
		if still := (*StillReached)(nil); errors.As(err, &still) {
			return out, &Leftovers{e.Namespace, []string{"pod/" + still.Pod, "service/" + record.ServiceName(e.ID)}, err}
		}
		if err != nil && ctx.Err() != nil {
			return out, err
		}
		if err != nil {
			e.Step(StepDrain, fmt.Sprintf("could not verify that the router stopped sending traffic: %v", err))
		}
	}
	if e.BeforeDelete != nil {
		e.BeforeDelete(ctx)
	}
	if err := e.deleteSandbox(ctx); err != nil {
		return out, err
	}
	e.Step(StepClose, "remove the last mark from the Route")
	return out, e.closeRoute(ctx, route)
}

// closeRoute removes the last marks from the Route, which was last seen as r (nil: unknown).
func (e *Ending) closeRoute(ctx context.Context, r *routev1.Route) error {
	return e.retryStep(ctx, StepClose, func() error { return e.Close(ctx, e.Namespace, e.Route, e.ID, r) })
}

// deleteSandbox deletes what the session created.
func (e *Ending) deleteSandbox(ctx context.Context) error {
	e.Step(StepDelete, "Service and pods of session "+e.ID)
	return e.retryStep(ctx, StepDelete, func() error {
		return e.Teardown(ctx, e.Namespace, e.Route, e.ID)
	})
}

// maxBackoffTry limits the pause between two tries of a step to 1.6 s plus jitter, see kube.Backoff.
const maxBackoffTry = 6

// retryStep repeats a step while the API server may only be unavailable and the context allows,
// because there may be no one else to end the session. It reports the first error.
func (e *Ending) retryStep(ctx context.Context, step string, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || isOutage(err) {
			e.refusals.Served()
		}
		if err == nil || ctx.Err() != nil || !isOutage(err) && !e.refusals.MayPass(err) {
			return err
		}
		if try == 1 {
			e.Step(step, fmt.Sprintf("failed, retrying: %v", err))
		}
		if kube.Backoff(ctx, firstPause, min(try, maxBackoffTry)) != nil {
			return err
		}
	}
}

// isOutage reports whether an error may be due to an API server that is down or overloaded.
func isOutage(err error) bool {
	var other *record.InSession
	var none *record.NoWayBack
	return Retriable(err) && !errors.As(err, &other) && !errors.As(err, &none)
}

// checkBackendRemoved returns an error if the Route still has our backend.
func (e Ending) checkBackendRemoved(ctx context.Context) error {
	r, err := e.Routes.RouteV1().Routes(e.Namespace).Get(ctx, e.Route, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read route %s/%s: %w", e.Namespace, e.Route, err)
	}
	if record.HasBackend(r, e.ID) {
		return reason.New(reason.BackendLeftBehind, "namespace", e.Namespace, "route", e.Route, "service", record.ServiceName(e.ID))
	}
	return nil
}
