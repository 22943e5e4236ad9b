package session

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// findGuard finds the guard that can end this session, and refuses the session if there is none.
func (r *Runner) findGuard(ctx context.Context) error {
	if !r.Guarded {
		return nil
	}
	g, err := standby.Find(ctx, r.Core, r.Trust, r.Namespace, record.JournalVersion, r.Clock.Now)
	switch {
	case apierrors.IsForbidden(err):
		return reason.Forbidden(reason.GuardNotRunning, "why", err)
	case err != nil:
		return reason.New(reason.GuardNotRunning, "why", err)
	}
	r.guard = g
	return nil
}

// waitForRenewal waits until the guard has renewed its Lease since it was found. A Lease that looks
// fresh may belong to a process that has just died.
func (r *Runner) waitForRenewal(ctx context.Context) error {
	if !r.Guarded {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.guard.Lease)
	defer cancel()
	for {
		if renewed, err := r.guard.Renews(ctx, r.Core); err == nil && renewed {
			return nil
		}
		if err := kube.Sleep(ctx, 5*probeInterval); err != nil {
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return err
			}
			return reason.New(reason.GuardStoppedRenewing, "guard", r.guard.Holder)
		}
	}
}

// checkGuard checks that a guard is still running, before more users are sent to the sandbox.
func (r *Runner) checkGuard(ctx context.Context) error {
	if err := r.findGuard(ctx); err != nil {
		return err
	}
	return r.waitForRenewal(ctx)
}

// Unready is the error of a live session whose sandbox can no longer serve.
type Unready struct{ Cause error }

func (e *Unready) Error() string { return e.Reason().Error() }

// Unwrap returns the cause.
func (e *Unready) Unwrap() error { return e.Cause }

// Reason returns the cause's reason if it has one.
func (e *Unready) Reason() *reason.Error {
	if why := reason.Of(e.Cause); why != nil {
		return why
	}
	return reason.New(reason.SandboxUnready, "cause", e.Cause)
}

// holdSession gives the traffic back and keeps the sandbox for inspection until the session's end,
// when the guard deletes it. The guard may have held the session already.
func (r *Runner) holdSession(ctx context.Context) error {
	_, err := r.Hold(ctx, r.current, r.journal.Session)
	if err != nil {
		return fmt.Errorf("hold session %s: %w", r.journal.Session, err)
	}
	return nil
}
