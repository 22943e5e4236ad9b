//go:build e2e

package e2e

import (
	"strings"
	"sync"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// guardsAtATime bounds the pairs of guards that run at once; they mostly wait for a Lease.
const guardsAtATime = 24

// endedWithin is how long the end of a session may take whose guard was killed: the Lease
// runs out (15 s), one that is draining already gets a minute for whoever began it, and the
// sandbox of a Route without marks is an orphan after two, of each leader's.
const (
	endedWithin        = 3 * time.Minute
	orphansEndedWithin = 5 * time.Minute
)

// kill -9 of the guard directly before and directly after every request that it makes
// from its start to a session's end, by way of held: the second replica finishes.
func TestTheGuardKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	held := course{live, (*bareSession).unready}
	requests, _ := recordGuard(t, held)
	if all := strings.Join(requests, "\n"); strings.Count(all, "PATCH /apis/route") != 3 || strings.Count(all, "DELETE ") != 2 {
		t.Fatalf("the list has not hold, restore, two deletions and close:\n%s", all)
	}
	told(t, "%d requests that every run makes, each killed before and after", len(requests))
	mustKill(t, points(requests), held)
}

// The same at every write with which it ends a session whose journal, or whose label, somebody
// removed: of that the Route tells the second replica nothing any more.
func TestTheGuardKilledWhileItEndsWhatWasPruned(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"journal": "/metadata/annotations/osc-debug.dev~1journal",
		"label":   "/metadata/labels/osc-debug.dev~1session",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pruned := course{long, func(b *bareSession, g *running, guard string) {
				if name == "label" {
					b.within = orphansEndedWithin // killed after the restore, only the sandbox tells of it
				}
				b.prune(g, guard, path)
			}}
			killedAtWrites(t, 4, pruned) // restore, two deletions, close
		})
	}
}

// And at every write with which it ends what a command left that was killed while it armed. What
// else a command may leave takes the guard minutes: see make soak.
func TestTheGuardKilledWhileItEndsAnAbandonedStart(t *testing.T) {
	t.Parallel()
	killedWhileItEnds(t, 4, func(b *bareSession) { b.plant(session.Arming, soon) }) // restore, two deletions, close
}

// killedWhileItEnds kills the guard at each of so many writes that it makes to end what it finds.
func killedWhileItEnds(t *testing.T, writes int, found func(*bareSession)) {
	killedAtWrites(t, writes, course{found, func(*bareSession, *running, string) {}})
}

// killedAtWrites kills the guard at each of so many writes that it makes in a course.
func killedAtWrites(t *testing.T, writes int, c course) {
	requests, _ := recordGuard(t, c)
	made := writesOf(requests)
	if len(made) != writes {
		t.Fatalf("%d writes, wanted %d: %v", len(made), writes, made)
	}
	mustKill(t, points(made), c)
}

func writesOf(requests []string) (writes []string) {
	for _, r := range requests {
		if strings.HasPrefix(r, "PATCH /apis/route") || strings.HasPrefix(r, "DELETE ") {
			writes = append(writes, r)
		}
	}
	return writes
}

// course is what befalls a session: how it stands before there is a guard, and what is brought
// about once one leads.
type course struct {
	begin   func(b *bareSession)
	disturb func(b *bareSession, g *running, name string)
}

// live is a session that ends soon, long one that must not end by itself.
func live(b *bareSession) { b.plant(session.Live, soon) }
func long(b *bareSession) { b.plant(session.Live, time.Hour) }

// soon leaves a guard the time to begin.
const soon = 20 * time.Second

// mustKill is killGuards, with points that every run gets to.
func mustKill(t *testing.T, at []point, c course) {
	for _, p := range killGuards(t, at, c) {
		if !p.polls() {
			t.Errorf("not killed %s: in %d runs the guard made no such request", p, killTries)
		}
	}
}

// killGuards runs a session for each point, whose first guard is killed there, and lists the
// points that no run got to.
func killGuards(t *testing.T, at []point, c course) (missed []point) {
	var mu sync.Mutex
	var running sync.WaitGroup
	free := make(chan struct{}, guardsAtATime)
	for _, p := range at {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			for range killTries {
				if killGuard(t, p, c) {
					return
				}
				if p.polls() {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			missed = append(missed, p)
		})
	}
	running.Wait()
	return missed
}

// recordGuard lists the requests that a guard makes in each of some runs, as the last of them
// has their order, and the instants of those that only some of the runs made: how often it looks
// depends on how the events of its watches come.
func recordGuard(t *testing.T, c course) (every []string, some []point) {
	const runs = 3
	logs := make([][]string, runs)
	var running sync.WaitGroup
	for n := range runs {
		running.Go(func() {
			log := &requestLog{}
			e := newEnv(t)
			run := e.bare("shop")
			c.begin(run)
			g := e.guard("only", e.proxied(run.account, log.handle))
			c.disturb(run, g, "only")
			run.ended()
			g.signal(9)
			logs[n] = log.all()
		})
	}
	running.Wait()
	least, most := map[string]int{}, map[string]int{}
	for n, log := range logs {
		times := map[string]int{}
		for _, r := range log {
			times[r]++
		}
		for r, n := range times {
			most[r] = max(most[r], n)
		}
		for r := range most {
			if n == 0 {
				least[r] = times[r]
			}
			least[r] = min(least[r], times[r])
		}
		t.Logf("%d requests in run %d", len(log), n+1)
	}
	for r := range most {
		for nth := least[r] + 1; nth <= most[r]; nth++ {
			some = append(some, point{r, int64(nth), false}, point{r, int64(nth), true})
		}
	}
	for _, r := range logs[runs-1] {
		if least[r] > 0 {
			least[r]--
			every = append(every, r)
		}
	}
	return every, some
}

// killTries bounds the runs until a process is killed at a request: how often a guard looks
// depends on how the events of its watches come, and a command may end otherwise.
const killTries = 10

// killGuard runs a session with two guards, the first killed at a point, and says whether
// that came to be.
func killGuard(t *testing.T, p point, c course) bool {
	e := newEnv(t)
	done := false
	defer func() {
		if !done {
			t.Errorf("killed %s: see above", p)
		}
	}()
	run := e.bare("shop")
	k := newKiller(p)
	c.begin(run)
	first := e.guard("first", e.proxied(run.account, k.handle))
	k.process <- first
	leads := first.leads(t.Context(), "first")
	e.guard("second", run.account)
	if leads {
		c.disturb(run, first, "first")
	}
	run.ended()
	done = true
	return k.killed.Load()
}

// bareSession is a session on a Route without an application, for guards alone.
type bareSession struct {
	e       *env
	route   string
	account string // kubeconfig of the namespace's guards
	before  string
	journal *session.Journal
	within  time.Duration // how long its end may take
}

func (e *env) bare(route string) *bareSession {
	e.t.Helper()
	b := &bareSession{e: e, route: route, account: e.ownGuards(), within: endedWithin}
	r := e.plainRoute(route)
	b.before = looks(r)
	return b
}

// plant puts a session on the Route that ends after a time.
func (b *bareSession) plant(state session.State, left time.Duration) {
	b.e.t.Helper()
	b.journal = b.e.plant(b.route, state, left)
}

// unready takes the sandbox' readiness once a guard leads, and waits until it is held or
// the guard was killed.
func (b *bareSession) unready(g *running, name string) {
	b.e.t.Helper()
	if !g.leads(b.e.t.Context(), name) {
		return
	}
	if err := b.e.readiness(session.PodName(b.journal.Session, 0), false); err != nil && !apierrors.IsNotFound(err) {
		b.e.t.Error(err) // not found: its time was over before a guard led
	}
	b.e.eventually("held, or the guard killed", func() bool {
		select {
		case <-g.done:
			return true
		default:
			s := session.Of(b.get())
			return s == nil || s.State != session.Live
		}
	})
}

// prune removes a mark from the Route once a guard leads.
func (b *bareSession) prune(g *running, name, path string) {
	b.e.t.Helper()
	b.patch(g, name, `[{"op":"remove","path":"`+path+`"}]`)
}

// patch changes the Route once a guard leads.
func (b *bareSession) patch(g *running, name, patch string) {
	b.e.t.Helper()
	if !g.leads(b.e.t.Context(), name) {
		return
	}
	_, err := routes.RouteV1().Routes(b.e.ns).Patch(b.e.t.Context(), b.route, types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "other"})
	b.e.ok(err)
}

func (b *bareSession) get() *routev1.Route { return b.e.routeNamed(b.route) }

// ended waits until the Route is as before and the sandbox is gone.
func (b *bareSession) ended() {
	b.e.t.Helper()
	b.e.within(b.within, "the Route as before and no sandbox", func() bool {
		r := b.get()
		return looks(r) == b.before && !managed(r) && b.e.sandboxes() == 0
	})
}
