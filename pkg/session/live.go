package session

import (
	"context"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Expired is the error of a session that reached its time to live.
type Expired struct{ TTL time.Duration }

func (e *Expired) Error() string { return e.Reason().Error() }

// Reason implements reason.Reasoned.
func (e *Expired) Reason() *reason.Error {
	return reason.New(reason.SessionExpired, "ttl", e.TTL.String())
}

// stayLive calls OnLive and watches the session until its time is over or it fails.
func (r *Runner) stayLive(ctx context.Context) error {
	if r.Detach {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	target := r.target()
	r.onLiveDone = make(chan struct{})
	go func() {
		defer close(r.onLiveDone)
		if r.OnLive == nil {
			return
		}
		if err := r.OnLive(ctx, target); err != nil && ctx.Err() == nil {
			r.Report.Warn(err)
		}
	}()
	err := r.watchLive(ctx)
	cancel(err)
	return err // the rollback does not wait for OnLive
}

// onLiveTimeout is how long OnLive may take to return once the session is over.
const onLiveTimeout = 12 * time.Second

// waitForOnLive waits for OnLive to return, but not forever: the reader of its output may be stuck.
func (r *Runner) waitForOnLive() {
	if r.onLiveDone == nil {
		return
	}
	select {
	case <-r.onLiveDone:
	case <-time.After(onLiveTimeout):
		r.Report.Warn(reason.New(reason.TracerDidNotEnd))
	}
}

// target returns what can be traced.
func (r *Runner) target() Target {
	return Target{Session: r.journal.Session, Namespace: r.Namespace, Container: r.plan.Container, Pods: r.containerIDs()}
}

// containerIDs returns the runtime's IDs of the traced container, by pod name.
func (r *Runner) containerIDs() map[string]string {
	out := map[string]string{}
	for _, pod := range r.watcher.podList() {
		out[pod.Name] = sandbox.ContainerID(pod, r.plan.Container)
	}
	return out
}

// watchLive watches the live session, and takes its steps. It returns nil when the time to end has
// come.
func (r *Runner) watchLive(ctx context.Context) error {
	expires := r.journal.Expires.Add(-r.leadTime())
	forEnd := time.Time{}
	if r.For > 0 {
		forEnd = r.Clock.Now().Add(r.For)
	}
	reported := ""
	steps := newStepper(r)
	rollout := r.newRolloutWatch()
	reloads := &reloader{r: r}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := r.Clock.Now()
		switch {
		case !forEnd.IsZero() && !now.Before(forEnd):
			return nil
		case !now.Before(expires):
			if !forEnd.IsZero() && forEnd.Before(expires.Add(r.leadTime()+time.Minute)) {
				return nil // --for and --ttl end together, as requested
			}
			return &Expired{r.TTL}
		}
		left := expires.Sub(now)
		if !forEnd.IsZero() {
			left = min(left, forEnd.Sub(now))
		}
		if wait, more := steps.untilNext(now); more {
			left = min(left, wait)
		}
		if wait := reloads.check(ctx, now); wait > 0 {
			left = min(left, wait)
		}
		timer.Reset(left)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			if err := steps.takeStep(ctx, r.Clock.Now()); err != nil {
				return err
			}
			continue
		case <-r.watcher.changed:
		}
		if err := r.podFailure(); err != nil {
			return &Unready{err}
		}
		if len(r.sandboxEndpoints()) == 0 {
			return &Unready{reason.New(reason.SandboxUnready)}
		}
		s, err := r.currentSession()
		if err != nil {
			return err
		}
		if s == nil {
			r.Report.Warn(reason.New(reason.MarksRemoved))
			return nil
		}
		if s.Journal != nil && !s.Journal.Expires.IsZero() {
			expires = s.Journal.Expires.Add(-r.leadTime()) // it may have been extended
		}
		if now := r.describeForeignChanges(s); now != reported && now != "" {
			reported = now
			r.Report.Warn(reason.New(reason.WeightChangedByOthers, "change", now))
		}
		steps.stopIfOverridden(s)
		if err := rollout.checkPods(ctx); err != nil {
			return err
		}
	}
}

// describeForeignChanges describes which weights of the live session others changed, "" for none.
func (r *Runner) describeForeignChanges(s *record.Session) string {
	route, seen := r.watcher.currentRoute()
	if !seen || route == nil || s.Journal == nil || s.State != record.Live {
		return ""
	}
	return record.EditsOf(route, s.Journal).String()
}

// currentSession returns this session as its Route was last seen, nil if it is no longer there. If
// the session is held, the error is *Unready.
func (r *Runner) currentSession() (*record.Session, error) {
	route, seen := r.watcher.currentRoute()
	if !seen {
		return &record.Session{}, nil
	}
	switch s := sessionOf(route); {
	case s == nil || s.ID != r.journal.Session || !s.Backend:
		return nil, nil
	case s.State == record.Held:
		return nil, &Unready{reason.New(reason.GuardHeldSession)}
	default:
		return s, nil
	}
}
