package guard

import (
	"context"
	"fmt"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// event has an Event written on a Route, by and by: no restore waits for it, and a thousand
// that wait keep no Route in memory.
func (g *Guard) event(r *routev1.Route, reason Reason, note string) {
	namespace, name, uid := r.Namespace, r.Name, string(r.UID)
	write := func(ctx context.Context) {
		if err := g.Cleanup.Event(ctx, namespace, name, uid, "DebugSession"+string(reason), note); err != nil && ctx.Err() == nil {
			g.Log.Warn("Event not written", "route", namespace+"/"+name, "error", err)
		}
	}
	select {
	case g.events <- write:
	default:
		g.Log.Warn("Event dropped: too many wait", "route", namespace+"/"+name, "reason", reason)
	}
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
func (g *Guard) tell(k key, m *memory, r *routev1.Route, reason Reason) {
	if reason == "" || r == nil || m.told[reason] {
		return
	}
	m.told[reason] = true
	g.Metrics.unreadable.Inc()
	g.Log.Warn("session left alone", "session", k.String(), "route", r.Name, "reason", reason)
	note := fmt.Sprintf("session %s: its journal can't be read; users are served by the sandbox and nothing is changed until it is dead. 'osc-debug rollback --route %s' ends it now", k.id, r.Name)
	if reason == NoWayBack {
		note = (&session.NoWayBack{Namespace: r.Namespace, Name: r.Name, ID: k.id}).Error()
	}
	g.event(r, reason, note)
}

// tellChanged writes, once per session, that others changed a live session's weights: who left
// it to the guard has no command that says so.
func (g *Guard) tellChanged(k key, m *memory, r *routev1.Route, s *session.Session) {
	if s == nil || s.Journal == nil || s.State != session.Live || m.told[Changed] {
		return
	}
	if changes := session.Changed(r, s.Journal); len(changes) > 0 {
		m.told[Changed] = true
		g.event(r, Changed, fmt.Sprintf("session %s of %s: somebody %s: it stays so, and is not fought", k.id, s.Journal.User, strings.Join(changes, ", ")))
	}
}

// tellMarksGone writes, once per session, that somebody took its marks off the Route while its
// sandbox is there. It returns when to look again: look, or sooner, where caches may just lag.
func (g *Guard) tellMarksGone(k key, m *memory, f Facts, look time.Duration, now time.Time) time.Duration {
	if m.route == "" || m.closed || m.told[MarksGone] || f.Objects == 0 || !f.Drained.IsZero() {
		return look
	}
	if wait := f.MarklessSince.Add(settle).Sub(now); wait > 0 {
		return min(look, wait)
	}
	m.told[MarksGone] = true
	bore := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.route, UID: m.route}}
	g.event(bore, MarksGone, fmt.Sprintf("session %s: somebody took its marks off the Route, or deleted the Route; its sandbox is deleted in %s", k.id, orphan-settle))
	return look
}

// tellRefused writes, once per session, of an end that the API server refuses for good.
func (g *Guard) tellRefused(k key, m *memory, r *routev1.Route, err error) {
	if r == nil || session.Retriable(err) || m.told[NotEnded] {
		return
	}
	m.told[NotEnded] = true
	g.event(r, NotEnded, fmt.Sprintf("session %s: the API server refuses to have it ended, which is tried on: %v", k.id, err))
}
