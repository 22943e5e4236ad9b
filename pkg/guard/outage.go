package guard

import (
	"sync"
	"time"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// outage is what the guard's own watches of Routes go through. Routers watch Routes too: after
// a time without them they are late, and a sandbox must not go before they let go of it.
type outage struct {
	mu    sync.Mutex
	since time.Time // zero: Routes are served
	until time.Time // routers may be late till then
}

// note takes the outcome of a list, or of a watch's beginning.
func (o *outage) note(err error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil && o.since.IsZero() && session.Retriable(err):
		o.since = now
	case err == nil && !o.since.IsZero():
		if until := now.Add(session.CatchUp(now.Sub(o.since))); until.After(o.until) {
			o.until = until
		}
		o.since = time.Time{}
	}
}

// late is how much longer routers may go by what was.
func (o *outage) late(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	left := max(0, o.until.Sub(now))
	if !o.since.IsZero() {
		left = max(left, session.CatchUp(now.Sub(o.since)))
	}
	return left
}
