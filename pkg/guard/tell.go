package guard

import (
	"context"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/guard/judge"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// queueEvent queues an Event on a Route, so that no restore waits for it. The queue does not keep the
// Route, so that a thousand queued Events need little memory.
func (g *Guard) queueEvent(r *routev1.Route, code reason.Code, note string) {
	namespace, name, uid := r.Namespace, r.Name, string(r.UID)
	write := func(ctx context.Context) {
		if err := g.Cleanup.Event(ctx, namespace, name, uid, "DebugSession"+string(code), note); err != nil && ctx.Err() == nil {
			g.Log.Warn("cannot write Event", "route", namespace+"/"+name, "error", err)
		}
	}
	select {
	case g.events <- write:
	default:
		g.Log.Warn("dropped Event: the queue is full", "route", namespace+"/"+name, "reason", code)
	}
}

// describe returns the text of an Event for a reason: its sentence and its fix.
func describe(e *reason.Error, namespace string) string {
	if fix := e.Fix(map[string]string{"namespace": namespace}); fix != "" {
		return e.Error() + "; " + fix
	}
	return e.Error()
}

// displayUser returns the user's name for the text of an Event.
func displayUser(user string) string {
	if user == "" {
		return "an unknown user"
	}
	return user
}

// writeEvents writes queued Events until ctx ends.
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

// reportLeftAlone reports, once per session, that the guard leaves the session alone for a reason.
func (g *Guard) reportLeftAlone(k key, m *memory, r *routev1.Route, code reason.Code) {
	if code == "" || r == nil || m.reported[code] {
		return
	}
	m.reported[code] = true
	g.Metrics.unreadable.Inc()
	g.Log.Warn("leaving session alone", "session", k.String(), "route", r.Name, "reason", code)
	note := fmt.Sprintf("session %s: %s", k.id, describe(reason.New(reason.Unreadable, "route", r.Name), k.namespace))
	if code == reason.NoWayBack {
		note = describe(reason.New(reason.NoWayBack, "namespace", r.Namespace, "route", r.Name, "session", k.id), k.namespace)
	}
	g.queueEvent(r, code, note)
}

// reportChanged reports, once per session, that someone else changed the weights of a live session. A
// user who left the session to the guard has no command running that would say so.
func (g *Guard) reportChanged(k key, m *memory, r *routev1.Route, s *record.Session) {
	if s == nil || s.Journal == nil || s.State != record.Live || m.reported[reason.Changed] {
		return
	}
	if edits := record.EditsOf(r, s.Journal); len(edits) > 0 {
		m.reported[reason.Changed] = true
		why := reason.New(reason.Changed, "changes", edits.String())
		g.queueEvent(r, reason.Changed, fmt.Sprintf("session %s of %s: %s", k.id, displayUser(s.Journal.User), describe(why, k.namespace)))
	}
}

// reportMarksGone reports, once per session, that someone removed the session's marks from the Route
// while its sandbox exists. It returns when to check again: requeueAfter, or sooner if one cache may
// only be behind another.
func (g *Guard) reportMarksGone(k key, m *memory, f judge.Facts, requeueAfter time.Duration, now time.Time) time.Duration {
	if m.routeUID == "" || m.closed || m.reported[reason.MarksGone] || f.Objects == 0 || !f.DrainEnds.IsZero() {
		return requeueAfter
	}
	if wait := f.MarklessSince.Add(cacheLag).Sub(now); wait > 0 {
		return min(requeueAfter, wait)
	}
	m.reported[reason.MarksGone] = true
	r := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.route, UID: m.routeUID}} // it may be deleted
	note := describe(reason.New(reason.MarksGone, "time", record.OrphanAge-cacheLag), k.namespace)
	g.queueEvent(r, reason.MarksGone, fmt.Sprintf("session %s: %s", k.id, note))
	return requeueAfter
}

// reportNotEnded reports, once per session, that the API server rejects ending it with an error that
// is not temporary.
func (g *Guard) reportNotEnded(k key, m *memory, r *routev1.Route, err error) {
	if r == nil || store.Retriable(err) || m.reported[reason.NotEnded] {
		return
	}
	m.reported[reason.NotEnded] = true
	g.queueEvent(r, reason.NotEnded, fmt.Sprintf("session %s: %s", k.id, describe(reason.New(reason.NotEnded, "why", err), k.namespace)))
}
