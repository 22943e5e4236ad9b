//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// number is a count or seed that the environment may set.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Sessions of every kind, by seed, while a fifth of all requests of commands and guards
// meets a fault: when the faults stop, every Route is as before and nothing is left.
func TestFaultsOnAFifthOfRequests(t *testing.T) {
	t.Parallel()
	sessions, seed := number(t, "OSC_DEBUG_SESSIONS", 48), number(t, "OSC_DEBUG_SEED", int(rand.Uint32()))
	e := newEnv(t)
	account := e.ownGuards()
	e.deployment("web", 1, nil)
	lanes := min(40, sessions)
	before := map[string]string{}
	for n := range lanes {
		r := e.namedRoute(fmt.Sprintf("shop-%d", n))
		before[r.Name] = looks(r)
	}
	f := newFaults(uint64(seed), 0.2)
	alice, guards := e.proxied("alice", f.handle), e.proxied(account, f.handle)
	one, two := e.guard("one", guards, "--relist", "20s"), e.guard("two", guards, "--relist", "20s")
	e.eventually("a guard leads", func() bool {
		r := e.cli("shift", "--route", "shop-0", "--weight", "0", "--no-probe", "--dry-run", "server")
		return r.code == 0 && !r.because(reason.GuardNotRunning)
	})

	var mu sync.Mutex
	codes := map[int]int{}
	next := make(chan int)
	var running sync.WaitGroup
	for lane := range lanes {
		running.Go(func() {
			for n := range next {
				e.laneFree(fmt.Sprintf("shop-%d", lane), one, two)
				route := fmt.Sprintf("shop-%d", lane)
				s := &randomSession{e: e, route: route, before: before[route], config: alice, random: rand.New(rand.NewPCG(uint64(seed), uint64(n)+2))}
				code := s.run()
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	for n := range sessions {
		next <- n
	}
	close(next)
	running.Wait()
	f.stop()
	if codes[0] < sessions/4 {
		t.Errorf("seed %d: of %d sessions only %d ended well: faults kept the others from being held at all", seed, sessions, codes[0])
	}
	told(t, "seed %d, %d sessions by exit code of shift: %v; %s", seed, sessions, codes, f)
	if missing := f.missing(); sessions >= 1000 && len(missing) > 0 {
		t.Errorf("seed %d: no fault of these kinds: %v", seed, missing)
	}

	for name, was := range before {
		e.eventually(fmt.Sprintf("seed %d: route %s as before", seed, name), func() bool { r := e.routeNamed(name); return looks(r) == was && !managed(r) })
	}
	e.eventually(fmt.Sprintf("seed %d: no sandbox left", seed), func() bool { return e.sandboxes() == 0 })
}

// managed says whether a Route has an entry of ours in its managedFields.
func managed(r *routev1.Route) bool {
	return slices.ContainsFunc(r.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == record.FieldManager })
}

// laneFree waits until no session is on a Route, and shows what the guards say if one stays.
func (e *env) laneFree(route string, guards ...*running) {
	if await(e.t, e.ns, hang, unwatched, "no session on "+route, func() bool { return record.Of(e.routeNamed(route)) == nil }) {
		return
	}
	r := e.routeNamed(route)
	e.t.Errorf("route %s: still %v after %s: %v", route, record.Of(r), hang, r.Annotations)
	for _, g := range guards {
		for line := range strings.Lines(g.progress.String()) {
			if strings.Contains(line, r.Labels[record.Label]) || strings.Contains(line, "again") {
				e.t.Log(line)
			}
		}
	}
}

// randomSession is one session, its fate drawn by lot.
type randomSession struct {
	e             *env
	route, config string
	before        string // looks of the Route
	random        *rand.Rand
}

// run returns shift's exit code, -1 when it was killed.
func (s *randomSession) run() int {
	e, lot := s.e, s.random.IntN
	ttl := fmt.Sprintf("%ds", 5+lot(8))
	args := []string{"shift", "--route", s.route, "--router", routerIP, "--timeout", "25s", "--ttl", ttl, "--weight", fmt.Sprint([]int{0, 1, 20, 50, 99, 100}[lot(6)])}
	if lot(2) == 0 {
		args = append(args, "--detach")
	} else {
		args = append(args, "--for", "1s", "--drain", "500ms")
	}
	shift := e.start(s.config, args...)
	if lot(4) == 0 {
		time.Sleep(time.Duration(lot(4000)) * time.Millisecond)
		_ = shift.cmd.Process.Kill()
		shift.wait()
		return -1
	}
	result := shift.wait()
	s.check(result)
	if result.code == 0 && strings.Contains(result.errOut, "is as it was") { // nobody else was at it
		if r := e.routeNamed(s.route); looks(r) != s.before || managed(r) {
			e.t.Errorf("the command says that the Route is as it was: %s\n%s", looks(r), result)
		}
		if left := e.pods(record.RouteNameKey + "=" + s.route); len(left) > 0 {
			e.t.Errorf("the command says that the session is over, and pod %s is left\n%s", left[0].Name, result)
		}
	}
	for range lot(3) {
		switch lot(5) {
		case 0:
			s.check(e.start(s.config, "weight", fmt.Sprint(lot(101)), "--route", s.route, "--no-probe").wait())
		case 1:
			s.check(e.start(s.config, "extend", "2s", "--route", s.route).wait())
		case 2:
			s.check(e.start(s.config, "rollback", "--route", s.route, "--drain", "500ms").wait())
		case 3:
			rollback := e.start(s.config, "rollback", "--route", s.route, "--drain", "500ms")
			time.Sleep(time.Duration(lot(1500)) * time.Millisecond)
			_ = rollback.cmd.Process.Kill()
			rollback.wait()
		case 4:
			for _, p := range e.pods(record.RouteNameKey + "=" + s.route) {
				_ = e.readiness(p.Name, false)
			}
		}
	}
	return result.code
}

// check fails on what no fault excuses.
func (s *randomSession) check(r result) {
	if strings.Contains(r.errOut, "panic:") || strings.Contains(r.errOut, "goroutine ") {
		s.e.t.Errorf("%s", r)
	}
}
