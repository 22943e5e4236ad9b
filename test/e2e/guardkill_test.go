//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// kill -9 of the guard directly before and directly after every request that it makes
// from its start to a session's end, by way of held: the second replica finishes.
func TestTheGuardKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	requests, some := recordGuard(t, heldAndOver)
	if all := strings.Join(requests, "\n"); strings.Count(all, "PATCH /apis/route") != 3 || strings.Count(all, "DELETE ") != 2 {
		t.Fatalf("the list has not hold, restore, two deletions and close:\n%s", all)
	}
	every := instants(requests)
	mustKill(t, sampled(t, "guard-held", true, every, slices.Concat(every, some)), heldAndOver)
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
	killedWhileItEnds(t, 4, func(b *bareSession) { b.plant(record.Arming, time.Second) }) // restore, two deletions, close
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
	mustKill(t, instants(made), c)
}

// course is what befalls a session: how it stands before there is a guard, and what is brought
// about once one leads.
type course struct {
	begin   func(b *bareSession)
	disturb func(b *bareSession, g *running, name string)
}

// live is a session that ends soon, long one that must not end by itself.
func live(b *bareSession) { b.plant(record.Live, soon) }
func long(b *bareSession) { b.plant(record.Live, time.Hour) }

// soon leaves a guard the time to begin.
const soon = 20 * time.Second

// heldAndOver is a session whose sandbox fails, and whose time is over when it is held: however
// long a slow machine takes for the one, the other comes after it.
var heldAndOver = course{long, func(b *bareSession, g *running, name string) {
	b.unready(g, name)
	b.over()
}}

// over moves the session's end to now.
func (b *bareSession) over() {
	b.e.t.Helper()
	b.e.overOn(b.route)
}

// mustKill is killGuards, with instants that every run gets to.
func mustKill(t *testing.T, at []instant, c course) {
	for _, p := range killGuards(t, at, c) {
		if !p.polls() {
			t.Errorf("not killed %s: in %d runs the guard made no such request", p, killTries)
		}
	}
}

// killGuards runs a session for each instant, whose first guard is killed there, and lists the
// instants that no run got to.
func killGuards(t *testing.T, at []instant, c course) (missed []instant) {
	var mu sync.Mutex
	t.Run("killed", func(t *testing.T) {
		for _, p := range at {
			t.Run(p.String(), func(t *testing.T) {
				t.Parallel()
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
	})
	return missed
}

// recordGuard lists the requests that a guard makes in each of some runs, as the last of them
// has their order, and the instants of those that only some of the runs made: how often it looks
// depends on how the events of its watches come.
func recordGuard(t *testing.T, c course) (every []string, some []instant) {
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
			some = append(some, instant{r, int64(nth), false}, instant{r, int64(nth), true})
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

// killGuard runs a session with two guards, the first killed at an instant, and says whether
// that came to be.
func killGuard(t *testing.T, p instant, c course) bool {
	e := newEnv(t)
	run := e.bare("shop")
	k := newKiller(p)
	c.begin(run)
	first := e.guard("first", e.proxied(run.account, k.handle))
	k.process <- first
	first.leads(t.Context(), "first") // or is killed before
	e.guard("second", run.account)
	c.disturb(run, first, "first")
	run.ended()
	return k.killed.Load()
}

// bareSession is a session on a Route without an application, for guards alone.
type bareSession struct {
	e       *env
	route   string
	account string // kubeconfig of the namespace's guards
	before  string
	journal *record.Journal
}

func (e *env) bare(route string) *bareSession {
	e.t.Helper()
	b := &bareSession{e: e, route: route, account: e.ownGuards()}
	r := e.plainRoute(route)
	b.before = looks(r)
	return b
}

// plant puts a session on the Route that ends after a time.
func (b *bareSession) plant(state record.State, left time.Duration) {
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
	if err := b.e.readiness(record.PodName(b.journal.Session, 0), false); err != nil && !apierrors.IsNotFound(err) {
		b.e.t.Error(err) // not found: its time was over before a guard led
	}
	b.e.eventually("held, or the guard killed", func() bool {
		select {
		case <-g.done:
			return true
		default:
			s := record.Of(b.get())
			return s == nil || s.State != record.Live
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
	b.e.eventually("the Route as before and no sandbox", func() bool {
		r := b.get()
		return looks(r) == b.before && !managed(r) && b.e.sandboxes() == 0
	})
}
