//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// A guard that no longer hears what changes acts on nothing that it only remembers.
func TestAGuardWithStaleCachesRestoresNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	account := e.ownGuards("grace=4s")
	e.deployment("web", 1, nil)
	for _, name := range []string{"extended", "replaced", "recovered"} {
		e.namedRoute(name)
	}
	v, log := newValve(), &requestLog{}
	g := e.guard("stale", e.proxied(account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		log.handle(w, r, func(w http.ResponseWriter, r *http.Request) { v.handle(w, r, forward) })
	}))
	if !g.leads(t.Context(), "stale") {
		t.Fatal(g.wait())
	}
	const left = 25 * time.Second
	e.plant("extended", session.Live, left)
	e.plant("replaced", session.Live, left)
	remembered := time.Now().Add(left) // the ends that the guard hears of
	recovered := e.plant("recovered", session.Live, 5*time.Minute)
	if r := e.cli("weight", "50", "--route", "recovered"); r.code != 0 {
		t.Fatal(r)
	}
	pod := session.PodName(recovered.Session, 0)
	e.ready(pod, false)
	e.endpoints(session.ServiceName(recovered.Session), false)
	time.Sleep(500 * time.Millisecond) // until the guard has heard of it
	v.shut()
	heard := len(log.all())

	e.ready(pod, true)
	e.endpoints(session.ServiceName(recovered.Session), true)
	if r := e.cli("extend", "5m", "--route", "extended"); r.code != 0 {
		t.Fatal(r)
	}
	if r := e.cli("rollback", "--route", "replaced", "--drain", "0s"); r.code != 0 {
		t.Fatal(r)
	}
	again := e.plant("replaced", session.Live, 5*time.Minute)
	time.Sleep(time.Until(remembered.Add(6 * time.Second))) // past them, and past the grace
	for _, name := range []string{"extended", "replaced", "recovered"} {
		if s := session.Of(e.routeNamed(name)); s == nil || s.State != session.Live {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if s := session.Of(e.routeNamed("replaced")); s.ID != again.Session {
		t.Errorf("replaced: session %s, not %s", s.ID, again.Session)
	}
	if e.sandboxes() != 6 {
		t.Errorf("%d Services and pods of sandboxes, wanted 6", e.sandboxes())
	}
	for _, r := range log.all()[heard:] {
		if strings.HasPrefix(r, "PATCH") || strings.HasPrefix(r, "DELETE") {
			t.Errorf("the guard wrote: %s", r)
		}
	}
	v.open()
	select {
	case <-g.done:
		t.Error("the guard had ended: it was no test of its caches")
	default:
	}
	for _, name := range []string{"extended", "replaced", "recovered"} {
		if r := e.cli("rollback", "--route", name, "--drain", "0s"); r.code != 0 {
			t.Error(r)
		}
	}
	e.eventually("no sandbox is left", func() bool { return e.sandboxes() == 0 })
}

// A guard whose caches have not synced does nothing, whatever is due.
func TestAGuardWithoutSyncedCachesDoesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.bare("shop")
	log, answer := &requestLog{}, make(chan struct{})
	b.journal = e.plant("shop", session.Live, 0)
	g := e.guard("unsynced", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, "/pods") && r.Method == http.MethodGet {
			select {
			case <-answer:
			case <-r.Context().Done():
				return
			case <-t.Context().Done():
				return
			}
		}
		log.handle(w, r, forward)
	}))
	time.Sleep(8 * time.Second)
	for _, r := range log.all() {
		if !strings.HasPrefix(r, "GET") && !strings.Contains(r, "/selfsubjectaccessreviews") {
			t.Errorf("without synced caches: %s", r)
		}
	}
	if s := session.Of(b.get()); s == nil || s.State != session.Live {
		t.Errorf("%+v", s)
	}
	close(answer)
	if g.leads(t.Context(), "unsynced") {
		b.ended()
	}
}

// A guard that the network cuts off while it holds the Lease: the other one ends what is
// due, and the first does no harm when it is back.
func TestAGuardThatIsCutOff(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.bare("shop")
	b.begin()
	var cut atomic.Bool
	back := make(chan struct{})
	one := e.guard("one", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if cut.Load() { // packets are dropped: no answer comes until the network is back
			select {
			case <-r.Context().Done():
				return
			case <-t.Context().Done():
				return
			case <-back:
			}
		}
		forward(w, r)
	}), "--relist", "5s")
	if !one.leads(t.Context(), "one") {
		t.Fatal(one.wait())
	}
	cut.Store(true)
	e.guard("two", b.account)
	b.ended()
	again := e.plant("shop", session.Live, 5*time.Minute)
	cut.Store(false)
	close(back)
	e.within(2*time.Minute, "the guard that was cut off is back", func() bool {
		return strings.Count(one.progress.String(), `"watching"`) > 1
	})
	time.Sleep(5 * time.Second) // for whatever it may think is due
	if s := session.Of(b.get()); s == nil || s.ID != again.Session || s.State != session.Live {
		t.Errorf("the guard that came back disturbed the next session: %+v", s)
	}
	if r := e.cli("rollback", "--route", "shop", "--drain", "0s"); r.code != 0 {
		t.Error(r)
	}
	b.ended()
}
