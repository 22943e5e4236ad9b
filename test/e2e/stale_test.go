//go:build e2e

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// changedBehind are three sessions that a guard saw when something was due for each, and
// that changed behind its back: one was extended, one was ended and another begun on its
// Route, and the sandbox of one is ready again.
type changedBehind struct {
	*env
	due       time.Time // by then the guard would have acted on what it saw
	recovered *record.Journal
	again     *record.Journal
}

var changedRoutes = []string{"extended", "replaced", "recovered"}

func (e *env) changedBehind() *changedBehind {
	for _, name := range changedRoutes {
		e.namedRoute(name)
	}
	return &changedBehind{env: e}
}

// seen brings about what the guard is to see.
func (c *changedBehind) seen() {
	c.t.Helper()
	const left = time.Minute
	c.plant("extended", record.Live, left)
	c.plant("replaced", record.Live, left)
	c.due = time.Now().Add(left + 12*time.Second) // past the ends, and past the grace
	c.recovered = c.plant("recovered", record.Live, 5*time.Minute)
	if r := c.cli("weight", "50", "--route", "recovered"); r.code != 0 {
		c.t.Fatal(r)
	}
	c.sandboxReady(false)
}

func (c *changedBehind) sandboxReady(ready bool) {
	c.ready(record.PodName(c.recovered.Session, 0), ready)
	c.endpoints(record.ServiceName(c.recovered.Session), ready)
}

// change is what the guard does not see.
func (c *changedBehind) change() {
	c.t.Helper()
	c.sandboxReady(true)
	if r := c.cli("extend", "5m", "--route", "extended"); r.code != 0 {
		c.t.Fatal(r)
	}
	if r := c.cli("rollback", "--route", "replaced", "--drain", "0s"); r.code != 0 {
		c.t.Fatal(r)
	}
	c.again = c.plant("replaced", record.Live, 5*time.Minute)
}

// untouched waits until the guard would have acted, and checks that it did not.
func (c *changedBehind) untouched(requests func() []string, g *running) {
	c.t.Helper()
	time.Sleep(time.Until(c.due))
	for _, name := range changedRoutes {
		if s := record.Of(c.routeNamed(name)); s == nil || s.State != record.Live {
			c.t.Errorf("%s: %+v", name, s)
		}
	}
	if s := record.Of(c.routeNamed("replaced")); s == nil || s.ID != c.again.Session {
		c.t.Errorf("replaced: %+v, not session %s", s, c.again.Session)
	}
	if c.sandboxes() != 6 {
		c.t.Errorf("%d Services and pods of sandboxes, wanted 6", c.sandboxes())
	}
	for _, r := range requests() {
		if (strings.HasPrefix(r, "PATCH") || strings.HasPrefix(r, "DELETE")) && !strings.HasSuffix(r, "/configmaps/"+settings.StatusName) {
			c.t.Errorf("the guard wrote: %s", r)
		}
	}
	select {
	case <-g.done:
		c.t.Error("the guard had ended: it was no test of its caches")
	default:
	}
}

// end ends the three sessions, by the guard where commands leave something.
func (c *changedBehind) end() {
	c.t.Helper()
	for _, name := range changedRoutes {
		if r := c.cli("rollback", "--route", name, "--drain", "0s"); r.code != 0 {
			c.t.Error(r)
		}
	}
	c.eventually("no sandbox is left", func() bool { return c.sandboxes() == 0 })
}

// A guard that no longer hears what changes acts on nothing that it only remembers.
func TestAGuardWithStaleCachesRestoresNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	account := e.ownGuards("grace=15s")
	e.deployment("web", 1, nil)
	c := e.changedBehind()
	v, log := newValve(), &requestLog{}
	g := e.guard("stale", e.proxied(account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		log.handle(w, r, func(w http.ResponseWriter, r *http.Request) { v.handle(w, r, forward) })
	}))
	if !g.leads(t.Context(), "stale") {
		t.Fatal(g.wait())
	}
	c.seen()
	time.Sleep(500 * time.Millisecond) // until the guard has heard of it
	v.shut()
	heard := len(log.all())
	c.change()
	c.untouched(func() []string { return log.all()[heard:] }, g)
	v.open()
	c.end()
}

// A guard that starts on lists of the past, as an API server whose cache lags may answer
// them, and hears nothing that came after, does nothing that they say is due.
func TestAGuardRestartedOnOldListsRestoresNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	account := e.ownGuards("grace=15s")
	e.deployment("web", 1, nil)
	c := e.changedBehind()
	first := e.guard("first", account)
	if !first.leads(t.Context(), "first") {
		t.Fatal(first.wait())
	}
	c.seen()
	past, log := e.past(), &requestLog{}
	first.signal(syscall.SIGKILL)
	c.change() // the killed one's Lease still looks fresh
	g := e.guard("restarted", e.proxied(account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		log.handle(w, r, func(w http.ResponseWriter, r *http.Request) { past.handle(w, r, forward) })
	}))
	if !g.leads(t.Context(), "restarted") {
		t.Fatal(g.wait())
	}
	if grown := time.Now().Add(20 * time.Second); grown.After(c.due) {
		c.due = grown // its grace began when it did
	}
	c.untouched(log.all, g)
	for path := range past.lists {
		if past.answered(path) == 0 {
			t.Errorf("the guard did not list %s: it was no test of its lists", path)
		}
	}
	close(past.over)
	c.end()
}

// A guard whose caches have not synced does nothing, whatever is due.
func TestAGuardWithoutSyncedCachesDoesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.bare("shop")
	log, answer := &requestLog{}, make(chan struct{})
	b.journal = e.plant("shop", record.Live, 0)
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
	e.eventually("the guard lists Routes", func() bool {
		return slices.ContainsFunc(log.all(), func(r string) bool { return strings.HasPrefix(r, "GET") && strings.HasSuffix(r, "/routes") })
	})
	time.Sleep(8 * time.Second)
	for _, r := range log.all() {
		if !strings.HasPrefix(r, "GET") && !strings.Contains(r, "/selfsubjectaccessreviews") {
			t.Errorf("without synced caches: %s", r)
		}
	}
	if s := record.Of(b.get()); s == nil || s.State != record.Live {
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
	b.plant(record.Live, time.Hour)
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
	b.over()
	e.guard("two", b.account)
	b.ended()
	again := e.plant("shop", record.Live, 5*time.Minute)
	cut.Store(false)
	close(back)
	e.eventually("the guard that was cut off is back", func() bool {
		return strings.Count(one.progress.String(), `"watching"`) > 1
	})
	time.Sleep(5 * time.Second) // for whatever it may think is due
	if s := record.Of(b.get()); s == nil || s.ID != again.Session || s.State != record.Live {
		t.Errorf("the guard that came back disturbed the next session: %+v", s)
	}
	if r := e.cli("rollback", "--route", "shop", "--drain", "0s"); r.code != 0 {
		t.Error(r)
	}
	b.ended()
}

// An end whose answer was lost, and that did not happen, is forgotten when the session goes
// on after all: its true end, later, has the drain that its command gives it.
func TestAnEndThatDidNotHappenIsForgotten(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.bare("shop")
	var lost atomic.Bool
	extended := make(chan struct{})
	g := e.guard("one", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/routes/shop") && lost.CompareAndSwap(false, true) {
			select {
			case <-extended:
			case <-t.Context().Done():
			}
			http.Error(w, "upstream request timeout", http.StatusGatewayTimeout)
			return
		}
		forward(w, r)
	}))
	live(b)
	if !g.leads(t.Context(), "one") {
		t.Fatal(g.wait())
	}
	e.eventually("the guard's write", lost.Load)
	r := e.cli("extend", "5m", "--route", "shop")
	close(extended)
	if r.code != 0 {
		t.Fatal(r)
	}
	time.Sleep(3 * time.Second) // past the second that the guard would have drained for
	if s := record.Of(b.get()); s == nil || s.State != record.Live {
		t.Fatalf("the extended session: %+v", s)
	}
	end := e.start("alice", "rollback", "--route", "shop", "--drain", "6s")
	e.eventually("draining", func() bool {
		s := record.Of(b.get())
		return s != nil && s.State == record.Draining
	})
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		if n := e.sandboxes(); n != 2 {
			t.Fatalf("%d Services and pods of the sandbox while it is drained, wanted 2", n)
		}
	}
	if r := end.wait(); r.code != 0 {
		t.Error(r)
	}
	e.eventually("no sandbox is left", func() bool { return e.sandboxes() == 0 })
}

// A leader whose settings change begins again, which may take longer than a Lease lasts: it
// keeps the Lease meanwhile, and ends what is due afterwards.
func TestALeaderThatBeginsAgainKeepsItsLease(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.bare("shop")
	const takes = 20 * time.Second // more than the Lease's 15
	var slow atomic.Bool
	var held atomic.Int32
	one := e.guard("one", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if slow.Load() && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/pods") {
			held.Add(1)
			select {
			case <-r.Context().Done():
				return
			case <-t.Context().Done():
				return
			case <-time.After(takes):
			}
		}
		forward(w, r)
	}))
	if !one.leads(t.Context(), "one") {
		t.Fatal(one.wait())
	}
	e.guard("two", b.account)
	slow.Store(true)
	e.setting("grace", "3s")
	e.eventually("the leader begins again", func() bool { return held.Load() > 0 })
	renewals := map[time.Time]bool{}
	for until := time.Now().Add(takes); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
		lease, err := core.CoordinationV1().Leases(e.ns).Get(t.Context(), settings.LeaseName, metav1.GetOptions{})
		e.ok(err)
		renewals[lease.Spec.RenewTime.Time] = true
		if holder := *lease.Spec.HolderIdentity; holder != "one" {
			t.Fatalf("%s has the Lease while the leader begins again", holder)
		}
	}
	if len(renewals) < 3 {
		t.Errorf("the leader that begins again did not renew its Lease: %v", renewals)
	}
	slow.Store(false)
	live(b)
	b.ended()
	lease, err := core.CoordinationV1().Leases(e.ns).Get(t.Context(), settings.LeaseName, metav1.GetOptions{})
	e.ok(err)
	if holder := *lease.Spec.HolderIdentity; holder != "one" {
		t.Errorf("%s ended the session", holder)
	}
}
