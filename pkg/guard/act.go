package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/guard/judge"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// podRecheck is when to check pods again that are being deleted. Usually the event of their deletion
// comes first.
const podRecheck = 10 * time.Second

// act carries out a verdict that a live read gave, and returns when to check the session again (0: at
// the next change). live is the Route as read, nil if it has no mark of the session.
func (g *Guard) act(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) (time.Duration, error) {
	switch v.Action {
	case judge.Hold:
		return 0, g.hold(ctx, k, m, live, v)
	case judge.End:
		return g.restore(ctx, k, m, live, v)
	case judge.Finish:
		return g.finish(ctx, k, m, live, v)
	}
	g.reportLeftAlone(k, m, live, v.Reason)
	return v.RequeueAfter, nil
}

// hold moves traffic off a sandbox that is not ready, and keeps the sandbox for inspection.
func (g *Guard) hold(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) error {
	_, err := g.Urgent.Hold(ctx, live, k.id)
	if apierrors.IsInvalid(err) { // no room for our backend, because someone else added backends
		_, err = g.restore(ctx, k, m, live, v)
		return err
	}
	if err != nil {
		return err
	}
	g.reportRestored(k, m, live, v, reason.New(reason.TrafficHeld, "route", live.Name))
	return nil
}

// restore restores the Route and returns when the drain ends, after which finish deletes the sandbox.
func (g *Guard) restore(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) (time.Duration, error) {
	s := record.Of(live)
	_, out, err := g.Urgent.Restore(ctx, live.Namespace, live.Name, k.id, live)
	late := g.Urgent.Outage.Late(time.Now())
	drain := g.Settings.Drain + late
	if s.State == record.Arming {
		drain = 0 // it never had traffic
	}
	if err == nil || store.Unanswered(err) { // if the marks are gone, only this memory knows of the drain
		m.drainEnds = g.Clock.Now().Add(drain)
	}
	if err != nil {
		return 0, err
	}
	how := reason.New(reason.RouteRestored)
	switch {
	case out.Blind:
		how = reason.New(reason.RestoredBlind)
	case out.Foreign:
		how = reason.New(reason.ForeignChangesStayed, "kept", out)
	}
	if late > 0 {
		g.Log.Info("routers may be late after an outage; keeping the sandbox longer", "session", k.String(), "drain", drain.String())
	}
	g.reportRestored(k, m, live, v, how)
	return max(drain, time.Millisecond), nil
}

// reportRestored reports a restored Route by metrics, log and Event. The sentence of the reason how says
// how it was restored.
func (g *Guard) reportRestored(k key, m *memory, live *routev1.Route, v judge.Verdict, how *reason.Error) {
	g.Metrics.restores.WithLabelValues(string(v.Reason)).Inc()
	took, cause := time.Duration(0), v.Since
	if !m.changed.IsZero() && (cause.IsZero() || m.changed.Before(cause)) {
		cause = m.changed // include the time in the queue
	}
	if !cause.IsZero() {
		took = max(0, g.Clock.Now().Sub(cause))
		g.Metrics.seconds.Observe(took.Seconds())
	}
	user := ""
	if j := record.Of(live).Journal; j != nil {
		user = j.User
	}
	g.Log.Info(string(v.Action), "session", k.String(), "route", live.Name, "user", user, "reason", v.Reason, "after", took)
	g.queueEvent(live, v.Reason, fmt.Sprintf("session %s of %s: %s: %s", k.id, displayUser(user), v.Reason, describe(how, k.namespace)))
}

// finish deletes a session's sandbox and, once it is gone, the last mark on the Route. It returns when
// to check again if pods are still being deleted.
func (g *Guard) finish(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) (time.Duration, error) {
	if live == nil {
		// The Route has no mark, but it may have our entry in managedFields. Only the sandbox's objects
		// lead to that entry, so it must be removed before they are.
		if err := g.Cleanup.Close(ctx, k.namespace, k.route, k.id, nil); err != nil {
			return 0, err
		}
	}
	left, err := g.deleteSandbox(ctx, k, m, live)
	if err != nil {
		return 0, err
	}
	if v.Reason == reason.Orphaned && m.deleted && !m.reported[reason.Orphaned] {
		m.reported[reason.Orphaned] = true
		g.Metrics.orphans.Inc()
		g.Log.Info("deleted orphaned sandbox", "session", k.String())
	}
	if len(left) > 0 {
		return podRecheck, nil
	}
	if live == nil {
		g.memory.forget(k)
		return 0, nil
	}
	if err := g.Cleanup.Close(ctx, k.namespace, k.route, k.id, live); err != nil {
		return 0, err
	}
	g.Log.Info("closed session", "session", k.String(), "route", k.route)
	m.closed = true // reconcile forgets the session at the event of this change
	// Objects that still have the label are no longer this Route's session: treat and count them as
	// orphans.
	m.drainEnds, m.deleted = time.Time{}, false
	return 0, nil
}

// deleteSandbox deletes the objects that certainly belong to a session's sandbox, and returns those that
// may still exist. Objects that merely have the marks are left alone.
func (g *Guard) deleteSandbox(ctx context.Context, k key, m *memory, live *routev1.Route) (left []string, err error) {
	var names []string
	for _, p := range g.cachesOf(k.namespace).podsOf(k) {
		names = append(names, p.Name)
	}
	// The parts are read first. So a Route that is read after them shows every session that they may be of.
	readAgain := sync.OnceValues(func() (*routev1.Route, error) { return g.readRoute(ctx, k) })
	left, deleted, err := g.Cleanup.TeardownOnce(ctx, k.namespace, k.route, k.id, names, func(_ context.Context, p store.Part) (bool, error) {
		if p.Pod != nil && !g.isSandbox(p.Pod) {
			return false, nil
		}
		return belongsToSession(k, live, p.ObjectMeta, readAgain)
	})
	m.deleted = m.deleted || deleted
	return left, err
}

// isSandbox reports whether a pod has our sidecar and a RuntimeClass for sandboxes. The sidecar's image
// does not matter, because the allowed images may have changed since the pod was created. Kata's own
// classes (kata, kata-remote, kata-cc, …) count even if they were since removed from the settings.
func (g *Guard) isSandbox(p *corev1.Pod) bool {
	class := p.Spec.RuntimeClassName
	if class == nil || !slices.Contains(g.Settings.RuntimeClasses, *class) && *class != "kata" && !strings.HasPrefix(*class, "kata-") {
		return false
	}
	return hasSidecar(p)
}

// hasSidecar reports whether a pod has a container with the name of our sidecar.
func hasSidecar(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == record.Sidecar })
}

// belongsToSession reports whether an object that names the Route belongs to the session on it, by the
// Route's UID. If live is nil, the Route had no mark of the session; the object then belongs to the
// session unless a new read of that same Route shows a mark.
func belongsToSession(k key, live *routev1.Route, o *metav1.ObjectMeta, readAgain func() (*routev1.Route, error)) (bool, error) {
	uid := o.Annotations[record.RouteUIDKey]
	if uid == "" {
		return false, nil
	}
	if live != nil {
		return uid == string(live.UID), nil
	}
	r, err := readAgain()
	if err != nil || r == nil {
		return err == nil, err
	}
	s := record.Of(r)
	return string(r.UID) != uid || s == nil || s.ID != k.id, nil
}

// readRoute reads a session's Route, nil if there is none.
func (g *Guard) readRoute(ctx context.Context, k key) (*routev1.Route, error) {
	r, err := g.Cleanup.Routes.RouteV1().Routes(k.namespace).Get(ctx, k.route, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read route %s/%s: %w", k.namespace, k.route, err)
	}
	return r, nil
}
