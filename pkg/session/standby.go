package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// findGuard sees to it that a guard stands by which could end this session.
func (r *Runner) findGuard(ctx context.Context) error {
	if !r.Guarded {
		return nil
	}
	g, err := standby.Find(ctx, r.Core, r.Namespace, record.JournalVersion, r.Clock.Now)
	switch {
	case apierrors.IsForbidden(err):
		return reason.Forbidden(reason.GuardNotRunning, "why", err)
	case err != nil:
		return reason.New(reason.GuardNotRunning, "why", err)
	}
	r.guard = g
	return nil
}

// guardRenews waits until the guard has renewed its Lease since it was found: a Lease
// that only looks fresh may be that of a process which just died.
func (r *Runner) guardRenews(ctx context.Context) error {
	if !r.Guarded {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.guard.Lease)
	defer cancel()
	for {
		if renewed, err := r.guard.Renews(ctx, r.Core); err == nil && renewed {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return ctx.Err()
			}
			return reason.New(reason.GuardStoppedRenewing, "guard", r.guard.Holder)
		case <-time.After(5 * probeEvery):
		}
	}
}

// guardStands sees to it that a guard still stands by, before more users are sent to the
// sandbox.
func (r *Runner) guardStands(ctx context.Context) error {
	if err := r.findGuard(ctx); err != nil {
		return err
	}
	return r.guardRenews(ctx)
}

// Unready is a live session whose sandbox can't serve any more.
type Unready struct{ Cause error }

func (e *Unready) Error() string { return e.Reason().Error() }

// Unwrap is the cause.
func (e *Unready) Unwrap() error { return e.Cause }

// Reason is the cause's, if it has one.
func (e *Unready) Reason() *reason.Error {
	if why := reason.Of(e.Cause); why != nil {
		return why
	}
	return reason.New(reason.SandboxUnready, "cause", e.Cause)
}

// hold gives the traffic back and leaves the sandbox to be looked at until its end,
// which the guard sees to. It may have done this already.
func (r *Runner) hold(ctx context.Context) error {
	_, err := r.Hold(ctx, r.current, r.journal.Session)
	if err != nil {
		return fmt.Errorf("hold session %s: %w", r.journal.Session, err)
	}
	return nil
}
