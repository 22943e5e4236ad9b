package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// stillThere is how soon to look at pods again that are being deleted; their deletion is
// an event too.
const stillThere = 10 * time.Second

// act does what a live read agreed to, and returns when to look again.
func (g *Guard) act(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) (time.Duration, error) {
	switch v.Action {
	case judge.Hold:
		return 0, g.hold(ctx, k, m, live, v)
	case judge.End:
		return g.restore(ctx, k, m, live, v)
	case judge.Finish:
		return g.finish(ctx, k, m, live, v)
	}
	g.tell(k, m, live, v.Reason)
	return v.Look, nil
}

// hold takes traffic off a sandbox that is not ready and keeps it to be looked at.
func (g *Guard) hold(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) error {
	_, err := g.Urgent.Hold(ctx, live, k.id)
	if apierrors.IsInvalid(err) { // no room for our backend: somebody added others
		_, err = g.restore(ctx, k, m, live, v)
		return err
	}
	if err != nil {
		return err
	}
	g.restored(k, m, live, v, reason.New(reason.TrafficHeld))
	return nil
}

// restore puts the Route back; deleting comes after the drain.
func (g *Guard) restore(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) (time.Duration, error) {
	s := record.Of(live)
	_, out, err := g.Urgent.Restore(ctx, live.Namespace, live.Name, k.id, live)
	late := g.Urgent.Outage.Late(time.Now())
	drain := g.Settings.Drain + late
	if s.State == record.Arming {
		drain = 0 // it never had traffic
	}
	if err == nil || store.Unanswered(err) { // marks may be gone of which only this memory tells
		m.drained = g.Clock.Now().Add(drain)
	}
	if err != nil {
		return 0, err
	}
	how := reason.New(reason.RouteRestored)
	switch {
	case out.Blind:
		how = reason.New(reason.RestoredBlind)
	case out.Foreign:
		how = reason.New(reason.ForeignChangesStayed)
	}
	if late > 0 {
		g.Log.Info("routers may be late after an outage, the sandbox stays longer", "session", k.String(), "drain", drain.String())
	}
	g.restored(k, m, live, v, how)
	return max(drain, time.Millisecond), nil
}

// restored tells of a Route that was put back, and how.
func (g *Guard) restored(k key, m *memory, live *routev1.Route, v judge.Verdict, how *reason.Error) {
	g.Metrics.restores.WithLabelValues(string(v.Reason)).Inc()
	took, cause := time.Duration(0), v.Since
	if !m.changed.IsZero() && (cause.IsZero() || m.changed.Before(cause)) {
		cause = m.changed // it waited in the queue
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
	g.event(live, v.Reason, fmt.Sprintf("session %s of %s: %s: %s", k.id, user, v.Reason, words(how)))
}

// finish deletes a session's sandbox and, when it is gone, the last mark on the Route.
func (g *Guard) finish(ctx context.Context, k key, m *memory, live *routev1.Route, v judge.Verdict) (time.Duration, error) {
	if live == nil {
		// The Route bears no mark, but maybe an entry of ours in its managedFields, and only the
		// sandbox' objects tell of it: they go after it.
		if err := g.Cleanup.Close(ctx, k.namespace, k.route, k.id, nil); err != nil {
			return 0, err
		}
	}
	left, err := g.sweep(ctx, k, m, live)
	if err != nil {
		return 0, err
	}
	if v.Reason == reason.Orphaned && m.deleted && !m.told[reason.Orphaned] {
		m.told[reason.Orphaned] = true
		g.Metrics.orphans.Inc()
		g.Log.Info("deleted orphans", "session", k.String())
	}
	if left > 0 {
		return stillThere, nil
	}
	if live == nil {
		g.forget(k)
		return 0, nil
	}
	if err := g.Cleanup.Close(ctx, k.namespace, k.route, k.id, live); err != nil {
		return 0, err
	}
	g.Log.Info("closed", "session", k.String(), "route", k.route)
	m.closed = true // forgotten when the event comes that tells of it
	// What bears the label still is not this Route's session: it waits, and is counted, as an
	// orphan.
	m.drained, m.deleted = time.Time{}, false
	return 0, nil
}

// sweep deletes what is a session's sandbox beyond doubt, and returns how many pods of it
// are still there. The Service goes last, and with it the copied NetworkPolicies, which bind
// the pods as long as they are. What only bears the marks is left alone.
func (g *Guard) sweep(ctx context.Context, k key, m *memory, live *routev1.Route) (left int, err error) {
	parts, _, err := g.Cleanup.Parts(ctx, k.namespace, k.route, k.id)
	if err != nil {
		return 0, fmt.Errorf("list the sandbox: %w", err)
	}
	var failed error
	for _, p := range parts {
		if p.Pod != nil && g.isSandbox(p.Pod) {
			there, err := g.remove(ctx, k, m, live, p)
			if there {
				left++
			}
			failed = errors.Join(failed, err)
		}
	}
	if left > 0 || failed != nil {
		return left, failed
	}
	for _, p := range parts {
		if p.Pod == nil {
			_, err := g.remove(ctx, k, m, live, p)
			failed = errors.Join(failed, err)
		}
	}
	return 0, failed
}

// remove deletes a part that is the session's, and says whether it may still be there.
func (g *Guard) remove(ctx context.Context, k key, m *memory, live *routev1.Route, p store.Part) (there bool, err error) {
	if ours, err := g.ours(ctx, k, live, p.ObjectMeta); err != nil || !ours {
		return false, err
	}
	if p.DeletionTimestamp != nil {
		return true, nil
	}
	if err := p.Delete(ctx); apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return true, err
	}
	m.deleted = true
	return true, nil
}

// isSandbox: a pod under a runtime class for sandboxes, with our sidecar, whichever image
// the settings allowed when it was made. Kata's own classes (kata, kata-remote, kata-cc, …)
// are such also when an administrator took them off the settings meanwhile.
func (g *Guard) isSandbox(p *corev1.Pod) bool {
	class := p.Spec.RuntimeClassName
	if class == nil || !slices.Contains(g.Settings.RuntimeClasses, *class) && *class != "kata" && !strings.HasPrefix(*class, "kata-") {
		return false
	}
	return hasSidecar(p)
}

func hasSidecar(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == record.Sidecar })
}

// ours says whether an object that names the Route belongs to the session on it; where
// the Route bears no mark of the session (live is nil), whether it still bears none.
func (g *Guard) ours(ctx context.Context, k key, live *routev1.Route, o *metav1.ObjectMeta) (bool, error) {
	uid := o.Annotations[record.RouteUIDKey]
	if uid == "" {
		return false, nil
	}
	if live != nil {
		return uid == string(live.UID), nil
	}
	r, err := g.Cleanup.Routes.RouteV1().Routes(k.namespace).Get(ctx, k.route, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read route %s/%s: %w", k.namespace, k.route, err)
	}
	s := record.Of(r)
	return string(r.UID) != uid || s == nil || s.ID != k.id, nil
}
