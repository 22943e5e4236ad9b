package session

import (
	"context"
	"errors"
	"time"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// touchTimeout limits a touch: meanwhile, nobody watches the session.
const touchTimeout = 5 * time.Second

// reloader makes routers with the dynamic configuration manager reload when the servers of a backend with a
// weight have changed. Without a reload, new servers get new weights and the others keep theirs, so the share drifts.
// Where a guard does that, the command does not.
type reloader struct {
	r       *Runner
	reloads record.Reloads
	failed  time.Time // of the last touch; zero: it succeeded
}

// check touches the Route if that is due, and returns how long to wait before checking again; 0: until the next
// change.
func (l *reloader) check(ctx context.Context, now time.Time) time.Duration {
	if l.r.guard != nil && l.r.guard.Reloads {
		return 0
	}
	on, s := l.r.liveSession()
	if s == nil {
		return 0
	}
	servers := record.Servers(on, record.WeightedServices(on), l.r.watcher.endpointSlices())
	due, wait := l.reloads.Due(s.Journal, servers, now)
	if !due {
		return wait
	}
	if again := l.failed.Add(record.TouchInterval); again.After(now) {
		return again.Sub(now)
	}
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	once := l.r.Store
	once.Once = true
	if _, err := once.Touch(ctx, on, s.ID, servers, now); err != nil {
		if l.failed.IsZero() && !errors.Is(err, context.Canceled) {
			l.r.Report.Warn(reason.New(reason.ReloadNotForced, "why", err))
		}
		l.failed = now
		return record.TouchInterval
	}
	l.failed = time.Time{}
	l.reloads.Touched()
	return 0
}
