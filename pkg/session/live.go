package session

import (
	"context"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Expired says that a session's time to live is over.
type Expired struct{ TTL time.Duration }

func (e *Expired) Error() string { return e.Reason().Error() }

// Reason is one of the table's.
func (e *Expired) Reason() *reason.Error {
	return reason.New(reason.SessionExpired, "ttl", e.TTL.String())
}

// live lets the caller work with the sandbox until its time is over or it fails.
func (r *Runner) live(ctx context.Context) error {
	if r.Detach {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	target := Target{Session: r.journal.Session, Namespace: r.Namespace, Container: r.plan.Container, Pods: r.containerIDs()}
	r.worked = make(chan struct{})
	go func() {
		defer close(r.worked)
		if r.OnLive == nil {
			return
		}
		if err := r.OnLive(ctx, target); err != nil && ctx.Err() == nil {
			r.Report.Warn(err)
		}
	}()
	err := r.watchLive(ctx)
	cancel(err)
	return err // the way back does not wait for what OnLive has still to say
}

// lastWords is how long OnLive may take to end once the session is over.
const lastWords = 12 * time.Second

// waitWork waits for OnLive, whose output may go to somebody who does not read it.
func (r *Runner) waitWork() {
	if r.worked == nil {
		return
	}
	select {
	case <-r.worked:
	case <-time.After(lastWords):
		r.Report.Warn(reason.New(reason.TracerDidNotEnd))
	}
}

// containerIDs are the runtime's IDs of the traced container, by pod.
func (r *Runner) containerIDs() map[string]string {
	out := map[string]string{}
	for _, pod := range r.watcher.podList() {
		out[pod.Name] = sandbox.ContainerID(pod, r.plan.Container)
	}
	return out
}

func (r *Runner) watchLive(ctx context.Context) error {
	expires := r.journal.Expires.Add(-r.lead())
	forEnd := time.Time{}
	if r.For > 0 {
		forEnd = r.Clock.Now().Add(r.For)
	}
	told := ""
	stepping := newStepper(r)
	rollout := r.newRollout()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := r.Clock.Now()
		switch {
		case !forEnd.IsZero() && !now.Before(forEnd):
			return nil
		case !now.Before(expires):
			if !forEnd.IsZero() && forEnd.Before(expires.Add(r.lead()+time.Minute)) {
				return nil // both at once, as asked for
			}
			return &Expired{r.TTL}
		}
		left := expires.Sub(now)
		if !forEnd.IsZero() {
			left = min(left, forEnd.Sub(now))
		}
		if wait, more := stepping.wait(now); more {
			left = min(left, wait)
		}
		timer.Reset(left)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			if err := stepping.step(ctx, r.Clock.Now()); err != nil {
				return err
			}
			continue
		case <-r.watcher.changed:
		}
		if err := r.dead(); err != nil {
			return &Unready{err}
		}
		if len(r.endpoints()) == 0 {
			return &Unready{reason.New(reason.SandboxUnready)}
		}
		s, err := r.onRoute()
		if err != nil {
			return err
		}
		if s == nil {
			r.Report.Warn(reason.New(reason.MarksRemoved))
			return nil
		}
		if s.Journal != nil && !s.Journal.Expires.IsZero() {
			expires = s.Journal.Expires.Add(-r.lead()) // somebody may have extended it
		}
		if now := r.foreign(s); now != told && now != "" {
			told = now
			r.Report.Warn(reason.New(reason.WeightChangedByOthers, "change", now))
		}
		stepping.look(s)
		if err := rollout.look(ctx); err != nil {
			return err
		}
	}
}

// foreign tells what others changed of the live session's weights.
func (r *Runner) foreign(s *record.Session) string {
	route, seen := r.watcher.currentRoute()
	if !seen || route == nil || s.Journal == nil || s.State != record.Live {
		return ""
	}
	return strings.Join(record.Changed(route, s.Journal), ", ")
}

// onRoute is this session as its Route was last seen; nil when it is no longer on it. A
// held session is the error Unready.
func (r *Runner) onRoute() (*record.Session, error) {
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
