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

// The guard is ended by kill -9 directly before and directly after every request that it makes from
// its start to the end of a session that it first holds. The second replica ends the session.
func TestTheGuardKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	requests, some := recordGuard(t, heldThenExpired)
	if all := strings.Join(requests, "\n"); strings.Count(all, "PATCH /apis/route") != 3 || strings.Count(all, "DELETE ") != 2 {
		t.Fatalf("wanted the writes hold, restore, two deletions and close in the list:\n%s", all)
	}
	every := instants(requests)
	checkKilledAt(t, sampleInstants(t, "guard-held", true, every, slices.Concat(every, some)), heldThenExpired)
}

// The same at every write with which the guard ends a session whose journal or label was removed.
// The second replica cannot read from the Route what is missing.
func TestTheGuardKilledWhileItEndsWhatWasPruned(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"journal": "/metadata/annotations/osc-debug.dev~1journal",
		"label":   "/metadata/labels/osc-debug.dev~1session",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pruned := scenario{plantLong, func(b *bareSession, g *running, guard string) {
				b.prune(g, guard, path)
			}}
			killAtWrites(t, 4, pruned) // restore, two deletions, close
		})
	}
}

// The same at every write with which the guard ends a session whose command was killed while it
// armed. Ending what commands leave at other steps takes minutes, so 'make soak' tests that.
func TestTheGuardKilledWhileItEndsAnAbandonedStart(t *testing.T) {
	t.Parallel()
	killWhileEnding(t, 4, func(b *bareSession) { b.plant(record.Arming, time.Second) }) // restore, two deletions, close
}

// killWhileEnding kills the guard at each of the writes with which it ends a session; found brings
// the session about, and writes is their expected number.
func killWhileEnding(t *testing.T, writes int, found func(*bareSession)) {
	killAtWrites(t, writes, scenario{found, func(*bareSession, *running, string) {}})
}

// killAtWrites kills the guard at each of the writes that it makes in a scenario; writes is their
// expected number.
func killAtWrites(t *testing.T, writes int, c scenario) {
	requests, _ := recordGuard(t, c)
	made := protocolWrites(requests)
	if len(made) != writes {
		t.Fatalf("%d writes, wanted %d: %v", len(made), writes, made)
	}
	checkKilledAt(t, instants(made), c)
}

// scenario is what happens to a session: begin sets it up before a guard runs, disturb changes
// something once the guard leads.
type scenario struct {
	begin   func(b *bareSession)
	disturb func(b *bareSession, g *running, name string)
}

// plantShort plants a session that expires after shortTTL, plantLong one that does not expire
// during the test.
func plantShort(b *bareSession) { b.plant(record.Live, shortTTL) }
func plantLong(b *bareSession)  { b.plant(record.Live, time.Hour) }

// shortTTL is long enough for a guard to start.
const shortTTL = 20 * time.Second

// heldThenExpired is a session whose sandbox becomes unready, and that expires once it is held.
// The order does not depend on how fast the machine is.
var heldThenExpired = scenario{plantLong, func(b *bareSession, g *running, name string) {
	b.makeUnready(g, name)
	b.expire()
}}

// expire moves the session's end to now.
func (b *bareSession) expire() {
	b.e.t.Helper()
	b.e.expireSession(b.route)
}

// checkKilledAt is killGuards; it fails the test for instants that are in every run and at which no guard was killed.
func checkKilledAt(t *testing.T, at []instant, c scenario) {
	for _, p := range killGuards(t, at, c) {
		if p.isInEveryRun(true) {
			t.Errorf("the guard was not killed %s, because it made no such request in %d runs", p, killTries)
		}
	}
}

// killGuards runs a session for each instant and kills its first guard there. It returns the
// instants that no run reached.
func killGuards(t *testing.T, at []instant, c scenario) (missed []instant) {
	var mu sync.Mutex
	t.Run("killed", func(t *testing.T) {
		for _, p := range at {
			t.Run(p.String(), func(t *testing.T) {
				t.Parallel()
				for range killTries {
					if killGuard(t, p, c) {
						return
					}
					if p.isPolling() {
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

// recordGuard records a guard's requests in several runs. every has the requests that all runs
// made, in the order of the last run. some has the instants of requests that only some runs made:
// how often a guard reads depends on the timing of its watch events.
func recordGuard(t *testing.T, c scenario) (every []string, some []instant) {
	const runs = 3
	logs := make([][]string, runs)
	var running sync.WaitGroup
	for n := range runs {
		running.Go(func() {
			log := &requestLog{}
			e := newEnv(t)
			run := e.newBareSession("shop")
			c.begin(run)
			g := e.startGuard("only", e.proxied(run.account, log.handle))
			c.disturb(run, g, "only")
			run.waitForEnd()
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

// killTries bounds the runs until a process is killed at a request. How often a guard reads depends
// on the timing of its watch events, and a command may end before it makes the request.
const killTries = 10

// killGuard runs a session with two guards, of which the first is to be killed at an instant. It
// says whether the first was killed.
func killGuard(t *testing.T, p instant, c scenario) bool {
	e := newEnv(t)
	run := e.newBareSession("shop")
	k := newKiller(p)
	c.begin(run)
	first := e.startGuard("first", e.proxied(run.account, k.handle))
	k.process <- first
	first.waitUntilLeading(t.Context(), "first") // it may be killed before
	e.startGuard("second", run.account)
	c.disturb(run, first, "first")
	run.waitForEnd()
	return k.killed.Load()
}

// bareSession is a session on a Route without an application, which only guards work on.
type bareSession struct {
	e       *env
	route   string
	account string // kubeconfig of the namespace's guards
	before  string
	journal *record.Journal
}

func (e *env) newBareSession(route string) *bareSession {
	e.t.Helper()
	b := &bareSession{e: e, route: route, account: e.prepareOwnGuard()}
	r := e.createPlainRoute(route)
	b.before = sessionFields(r)
	return b
}

// plant puts a session on the Route that ends after left.
func (b *bareSession) plant(state record.State, left time.Duration) {
	b.e.t.Helper()
	b.journal = b.e.plant(b.route, state, left)
}

// makeUnready makes the sandbox unready once a guard leads, and waits until the session is held or
// the guard was killed.
func (b *bareSession) makeUnready(g *running, name string) {
	b.e.t.Helper()
	if !g.waitUntilLeading(b.e.t.Context(), name) {
		return
	}
	if err := b.e.patchReadiness(record.PodName(b.journal.Session, 0), false); err != nil && !apierrors.IsNotFound(err) {
		b.e.t.Error(err) // a session that expired before a guard led has no pod any more
	}
	b.e.eventually("the session is held or the guard was killed", func() bool {
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
	if !g.waitUntilLeading(b.e.t.Context(), name) {
		return
	}
	_, err := routes.RouteV1().Routes(b.e.ns).Patch(b.e.t.Context(), b.route, types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "other"})
	b.e.ok(err)
}

func (b *bareSession) get() *routev1.Route { return b.e.getRoute(b.route) }

// waitForEnd waits until the Route is as before and the sandbox is gone.
func (b *bareSession) waitForEnd() {
	b.e.t.Helper()
	b.e.eventually("the Route is as before and no sandbox is left", func() bool {
		r := b.get()
		return sessionFields(r) == b.before && !hasOurManagedFields(r) && b.e.countSessionObjects() == 0
	})
}
