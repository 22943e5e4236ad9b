package guard

import (
	"context"
	"fmt"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/guard/judge"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// event has an Event written on a Route, by and by: no restore waits for it, and a thousand
// that wait keep no Route in memory.
func (g *Guard) event(r *routev1.Route, code reason.Code, note string) {
	namespace, name, uid := r.Namespace, r.Name, string(r.UID)
	write := func(ctx context.Context) {
		if err := g.Cleanup.Event(ctx, namespace, name, uid, "DebugSession"+string(code), note); err != nil && ctx.Err() == nil {
			g.Log.Warn("Event not written", "route", namespace+"/"+name, "error", err)
		}
	}
	select {
	case g.events <- write:
	default:
		g.Log.Warn("Event dropped: too many wait", "route", namespace+"/"+name, "reason", code)
	}
}

// words are what an Event says of a reason: its sentence, and what to do.
func words(e *reason.Error) string {
	if fix := e.Fix(nil); fix != "" {
		return e.Error() + ": " + fix
	}
	return e.Error()
}

func (g *Guard) writeEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case write := <-g.events:
			write(ctx)
		}
	}
}

// tell writes, once per session, of something that the guard leaves alone.
func (g *Guard) tell(k key, m *memory, r *routev1.Route, code reason.Code) {
	if code == "" || r == nil || m.told[code] {
		return
	}
	m.told[code] = true
	g.Metrics.unreadable.Inc()
	g.Log.Warn("session left alone", "session", k.String(), "route", r.Name, "reason", code)
	note := fmt.Sprintf("session %s: %s", k.id, words(reason.New(reason.Unreadable, "route", r.Name)))
	if code == reason.NoWayBack {
		note = words(reason.New(reason.NoWayBack, "namespace", r.Namespace, "route", r.Name, "session", k.id))
	}
	g.event(r, code, note)
}

// tellChanged writes, once per session, that others changed a live session's weights: who left
// it to the guard has no command that says so.
func (g *Guard) tellChanged(k key, m *memory, r *routev1.Route, s *record.Session) {
	if s == nil || s.Journal == nil || s.State != record.Live || m.told[reason.Changed] {
		return
	}
	if changes := record.Changed(r, s.Journal); len(changes) > 0 {
		m.told[reason.Changed] = true
		why := reason.New(reason.Changed, "changes", strings.Join(changes, ", "))
		g.event(r, reason.Changed, fmt.Sprintf("session %s of %s: %s", k.id, s.Journal.User, words(why)))
	}
}

// tellMarksGone writes, once per session, that somebody took its marks off the Route while its
// sandbox is there. It returns when to look again: look, or sooner, where caches may just lag.
func (g *Guard) tellMarksGone(k key, m *memory, f judge.Facts, look time.Duration, now time.Time) time.Duration {
	if m.route == "" || m.closed || m.told[reason.MarksGone] || f.Objects == 0 || !f.Drained.IsZero() {
		return look
	}
	if wait := f.MarklessSince.Add(settle).Sub(now); wait > 0 {
		return min(look, wait)
	}
	m.told[reason.MarksGone] = true
	bore := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.route, UID: m.route}}
	g.event(bore, reason.MarksGone, fmt.Sprintf("session %s: %s", k.id, words(reason.New(reason.MarksGone, "time", orphan-settle))))
	return look
}

// tellRefused writes, once per session, of an end that the API server refuses for good.
func (g *Guard) tellRefused(k key, m *memory, r *routev1.Route, err error) {
	if r == nil || store.Retriable(err) || m.told[reason.NotEnded] {
		return
	}
	m.told[reason.NotEnded] = true
	g.event(r, reason.NotEnded, fmt.Sprintf("session %s: %s", k.id, words(reason.New(reason.NotEnded, "why", err))))
}
