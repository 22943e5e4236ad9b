package shift

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// mendGuard is what to do where no guard stands by.
const mendGuard = "have an administrator install it ('osc-debug manifests guard') and enable this namespace, or stay in the foreground with --no-guard"

// findGuard sees to it that a guard stands by which could end this session.
func (r *Runner) findGuard(ctx context.Context) error {
	if !r.Guarded {
		return nil
	}
	refuse := func(err error) error {
		return &preflight.Refusal{Check: "guard", Cause: fmt.Errorf("no guard stands by: %w", err), Mend: mendGuard, Rights: apierrors.IsForbidden(err)}
	}
	g, err := settings.ReadGuard(ctx, r.Core)
	switch {
	case err != nil:
		return refuse(err)
	case r.Clock.Now().Sub(g.Renewed) > g.Lease:
		return refuse(fmt.Errorf("%s renewed its Lease %s ago", g.Holder, r.Clock.Now().Sub(g.Renewed).Round(time.Second)))
	case !g.Covers(r.Namespace):
		return refuse(fmt.Errorf("the one there may not end sessions in namespace %s", r.Namespace))
	case g.Journal < session.JournalVersion:
		return refuse(fmt.Errorf("the one there reads journals up to version %d, this command writes %d", g.Journal, session.JournalVersion))
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
		if version, err := settings.LeaseVersion(ctx, r.Core); err == nil && version != r.guard.Version {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("the guard %s no longer renews its Lease: no user was sent to the sandbox", r.guard.Holder)
		case <-time.After(5 * probeEvery):
		}
	}
}

// Unready is a live session whose sandbox can't serve any more.
type Unready struct{ Cause error }

func (e *Unready) Error() string { return e.Cause.Error() }
func (e *Unready) Unwrap() error { return e.Cause }

// hold gives the traffic back and leaves the sandbox to be looked at until its end,
// which the guard sees to. It may have done this already.
func (r *Runner) hold(ctx context.Context) error {
	_, err := r.Hold(ctx, r.current, r.journal.Session)
	if err != nil {
		return fmt.Errorf("hold session %s: %w", r.journal.Session, err)
	}
	return nil
}
