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

// staleSessions are three sessions for which a guard saw that something was due, and which then
// changed without the guard seeing it: one was extended, one was ended and replaced by another on
// its Route, and the sandbox of one became ready again.
type staleSessions struct {
	*env
	due       time.Time // by then the guard would have acted on its stale view
	recovered *record.Journal
	again     *record.Journal
}

var staleRoutes = []string{"extended", "replaced", "recovered"}

func (e *env) createStaleSessions() *staleSessions {
	for _, name := range staleRoutes {
		e.createRouteNamed(name)
	}
	return &staleSessions{env: e}
}

// createSessions creates the sessions in the state that the guard sees.
func (c *staleSessions) createSessions() {
	c.t.Helper()
	const left = time.Minute
	c.plant("extended", record.Live, left)
	c.plant("replaced", record.Live, left)
	c.due = time.Now().Add(left + 12*time.Second) // after the sessions' ends and the grace
	c.recovered = c.plant("recovered", record.Live, 5*time.Minute)
	if r := c.cli("weight", "50", "--route", "recovered"); r.code != 0 {
		c.t.Fatal(r)
	}
	c.setSandboxReady(false)
}

func (c *staleSessions) setSandboxReady(ready bool) {
	c.setReady(record.PodName(c.recovered.Session, 0), ready)
	c.waitForEndpoints(record.ServiceName(c.recovered.Session), ready)
}

// changeUnseen makes the changes that the guard does not see.
func (c *staleSessions) changeUnseen() {
	c.t.Helper()
	c.setSandboxReady(true)
	if r := c.cli("extend", "5m", "--route", "extended"); r.code != 0 {
		c.t.Fatal(r)
	}
	if r := c.cli("rollback", "--route", "replaced", "--drain", "0s"); r.code != 0 {
		c.t.Fatal(r)
	}
	c.again = c.plant("replaced", record.Live, 5*time.Minute)
}

// checkUntouched waits until the guard would have acted, and checks that it did not. requests
// returns the guard's requests since the sessions changed.
func (c *staleSessions) checkUntouched(requests func() []string, g *running) {
	c.t.Helper()
	time.Sleep(time.Until(c.due))
	for _, name := range staleRoutes {
		if s := record.Of(c.getRoute(name)); s == nil || s.State != record.Live {
			c.t.Errorf("%s: %+v", name, s)
		}
	}
	if s := record.Of(c.getRoute("replaced")); s == nil || s.ID != c.again.Session {
		c.t.Errorf("replaced: %+v, wanted session %s", s, c.again.Session)
	}
	if c.countSessionObjects() != 6 {
		c.t.Errorf("%d Services and pods of sandboxes, wanted 6", c.countSessionObjects())
	}
	for _, r := range requests() {
		if (strings.HasPrefix(r, "PATCH") || strings.HasPrefix(r, "DELETE")) && !strings.HasSuffix(r, "/configmaps/"+settings.StatusName) {
			c.t.Errorf("the guard wrote: %s", r)
		}
	}
	select {
	case <-g.done:
		c.t.Error("the guard has ended, so its caches were not tested")
	default:
	}
}

// end rolls the three sessions back and waits until the guard has deleted what is left.
func (c *staleSessions) end() {
	c.t.Helper()
	for _, name := range staleRoutes {
		if r := c.cli("rollback", "--route", name, "--drain", "0s"); r.code != 0 {
			c.t.Error(r)
		}
	}
	c.eventually("no sandbox is left", func() bool { return c.countSessionObjects() == 0 })
}

// A guard whose watches deliver no events any more does not act on its stale caches.
func TestAGuardWithStaleCachesRestoresNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	account := e.prepareOwnGuard("grace=15s")
	e.deployment("web", 1, nil)
	c := e.createStaleSessions()
	v, log := newValve(), &requestLog{}
	g := e.startGuard("stale", e.proxied(account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		log.handle(w, r, func(w http.ResponseWriter, r *http.Request) { v.handle(w, r, forward) })
	}))
	if !g.waitUntilLeading(t.Context(), "stale") {
		t.Fatal(g.wait())
	}
	c.createSessions()
	time.Sleep(500 * time.Millisecond) // until the guard has seen the events
	v.shut()
	heard := len(log.all())
	c.changeUnseen()
	c.checkUntouched(func() []string { return log.all()[heard:] }, g)
	v.open()
	c.end()
}

// A guard starts with lists of an earlier time, as an API server with a lagging cache may return
// them, and gets no later events. It does not act on what these lists say is due.
func TestAGuardRestartedOnOldListsRestoresNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	account := e.prepareOwnGuard("grace=15s")
	e.deployment("web", 1, nil)
	c := e.createStaleSessions()
	first := e.startGuard("first", account)
	if !first.waitUntilLeading(t.Context(), "first") {
		t.Fatal(first.wait())
	}
	c.createSessions()
	old, log := e.captureLists(), &requestLog{}
	first.signal(syscall.SIGKILL)
	c.changeUnseen() // meanwhile the killed guard's Lease still looks fresh
	g := e.startGuard("restarted", e.proxied(account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		log.handle(w, r, func(w http.ResponseWriter, r *http.Request) { old.handle(w, r, forward) })
	}))
	if !g.waitUntilLeading(t.Context(), "restarted") {
		t.Fatal(g.wait())
	}
	if graceOver := time.Now().Add(20 * time.Second); graceOver.After(c.due) {
		c.due = graceOver // its grace begins when it starts to lead
	}
	c.checkUntouched(log.all, g)
	for path := range old.lists {
		if old.answered(path) == 0 {
			t.Errorf("the guard did not list %s, so its lists were not tested", path)
		}
	}
	close(old.over)
	c.end()
}

// A guard whose caches have not synced does nothing, whatever is due.
func TestAGuardWithoutSyncedCachesDoesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.newBareSession("shop")
	log, answer := &requestLog{}, make(chan struct{})
	b.journal = e.plant("shop", record.Live, 0)
	g := e.startGuard("unsynced", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
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
			t.Errorf("request of a guard without synced caches: %s", r)
		}
	}
	if s := record.Of(b.get()); s == nil || s.State != record.Live {
		t.Errorf("%+v", s)
	}
	close(answer)
	if g.waitUntilLeading(t.Context(), "unsynced") {
		b.waitForEnd()
	}
}

// A guard loses its network while it holds the Lease. The other guard ends the session that is due,
// and the first one does no harm when its network is back.
func TestAGuardThatIsCutOff(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.newBareSession("shop")
	b.plant(record.Live, time.Hour)
	var cut atomic.Bool
	back := make(chan struct{})
	one := e.startGuard("one", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if cut.Load() { // as if packets were dropped: no answer until the network is back
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
	if !one.waitUntilLeading(t.Context(), "one") {
		t.Fatal(one.wait())
	}
	cut.Store(true)
	b.expire()
	e.startGuard("two", b.account)
	b.waitForEnd()
	again := e.plant("shop", record.Live, 5*time.Minute)
	cut.Store(false)
	close(back)
	e.eventually("the guard that lost its network is back", func() bool {
		return strings.Count(one.progress.String(), `"watching"`) > 1
	})
	time.Sleep(5 * time.Second) // time for it to act on what it may believe is due
	if s := record.Of(b.get()); s == nil || s.ID != again.Session || s.State != record.Live {
		t.Errorf("the returning guard disturbed the next session: %+v", s)
	}
	if r := e.cli("rollback", "--route", "shop", "--drain", "0s"); r.code != 0 {
		t.Error(r)
	}
	b.waitForEnd()
}

// The guard's restore got no answer and did not happen, and the session was extended. The guard
// forgets that restore: the session's real end later has the drain that its command asks for.
func TestAnEndThatDidNotHappenIsForgotten(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.newBareSession("shop")
	var lost atomic.Bool
	extended := make(chan struct{})
	g := e.startGuard("one", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
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
	plantShort(b)
	if !g.waitUntilLeading(t.Context(), "one") {
		t.Fatal(g.wait())
	}
	e.eventually("the guard's write", lost.Load)
	r := e.cli("extend", "5m", "--route", "shop")
	close(extended)
	if r.code != 0 {
		t.Fatal(r)
	}
	time.Sleep(3 * time.Second) // longer than the guard's drain of 1 s
	if s := record.Of(b.get()); s == nil || s.State != record.Live {
		t.Fatalf("the extended session should be live: %+v", s)
	}
	end := e.start("alice", "rollback", "--route", "shop", "--drain", "6s")
	e.eventually("the session is draining", func() bool {
		s := record.Of(b.get())
		return s != nil && s.State == record.Draining
	})
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		if n := e.countSessionObjects(); n != 2 {
			t.Fatalf("%d Services and pods of the sandbox during its drain, wanted 2", n)
		}
	}
	if r := end.wait(); r.code != 0 {
		t.Error(r)
	}
	e.eventually("no sandbox is left", func() bool { return e.countSessionObjects() == 0 })
}

// A leader whose settings change restarts its watches, which may take longer than a Lease lasts. It
// keeps the Lease meanwhile and ends what is due afterwards.
func TestALeaderThatBeginsAgainKeepsItsLease(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.newBareSession("shop")
	const takes = 20 * time.Second // more than the Lease's 15
	var slow atomic.Bool
	var held atomic.Int32
	one := e.startGuard("one", e.proxied(b.account, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
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
	if !one.waitUntilLeading(t.Context(), "one") {
		t.Fatal(one.wait())
	}
	e.startGuard("two", b.account)
	slow.Store(true)
	e.setSetting("grace", "3s")
	e.eventually("the leader lists pods again", func() bool { return held.Load() > 0 })
	renewals := map[time.Time]bool{}
	for until := time.Now().Add(takes); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
		lease, err := core.CoordinationV1().Leases(e.ns).Get(t.Context(), settings.LeaseName, metav1.GetOptions{})
		e.ok(err)
		renewals[lease.Spec.RenewTime.Time] = true
		if holder := *lease.Spec.HolderIdentity; holder != "one" {
			t.Fatalf("%s has the Lease while the leader restarts its watches", holder)
		}
	}
	if len(renewals) < 3 {
		t.Errorf("the leader did not renew its Lease while it restarted its watches: %v", renewals)
	}
	slow.Store(false)
	plantShort(b)
	b.waitForEnd()
	lease, err := core.CoordinationV1().Leases(e.ns).Get(t.Context(), settings.LeaseName, metav1.GetOptions{})
	e.ok(err)
	if holder := *lease.Spec.HolderIdentity; holder != "one" {
		t.Errorf("%s has the Lease after the session's end, wanted one", holder)
	}
}
