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

// intFromEnv returns a number from an environment variable, otherwise if it is unset.
func intFromEnv(t *testing.T, name string, otherwise int) int {
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

// exitExpired is the exit code of a command whose time, or whose session's, was over.
const exitExpired = 3

// Random sessions run while a fifth of all requests of commands and guards meets a fault. When the
// faults stop, every Route must be as before and nothing may be left. OSC_DEBUG_SEED sets the seed.
func TestFaultsOnAFifthOfRequests(t *testing.T) {
	t.Parallel()
	sessions, seed := intFromEnv(t, "OSC_DEBUG_SESSIONS", 48), intFromEnv(t, "OSC_DEBUG_SEED", int(rand.Uint32()))
	e := newEnv(t)
	account := e.prepareOwnGuard()
	e.deployment("web", 1, nil)
	lanes := min(40, sessions)
	before := map[string]string{}
	for n := range lanes {
		r := e.createRouteNamed(fmt.Sprintf("shop-%d", n))
		before[r.Name] = sessionFields(r)
	}
	f := newFaults(uint64(seed), 0.2)
	alice, guards := e.proxied("alice", f.handle), e.proxied(account, f.handle)
	one, two := e.startGuard("one", guards, "--relist", "20s"), e.startGuard("two", guards, "--relist", "20s")
	e.eventually("a guard leads", func() bool {
		r := e.cli("shift", "--route", "shop-0", "--weight", "0", "--no-probe", "--dry-run", "server")
		return r.code == 0 && !r.reports(reason.GuardNotRunning)
	})

	var mu sync.Mutex
	codes := map[int]int{}
	next := make(chan int)
	var running sync.WaitGroup
	for lane := range lanes {
		running.Go(func() {
			for n := range next {
				e.waitForNoSession(fmt.Sprintf("shop-%d", lane), one, two)
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
	// On a slow machine, many sessions expire before their command has ended: they ran too.
	if ran := codes[0] + codes[exitExpired]; ran < sessions/4 {
		t.Errorf("seed %d: only %[3]d of %[2]d sessions ran; faults kept too many from it", seed, sessions, ran)
	}
	summarize(t, "seed %d, %d sessions by exit code of shift: %v; %s", seed, sessions, codes, f)
	if missing := f.missing(); sessions >= 1000 && len(missing) > 0 {
		t.Errorf("seed %d: these kinds of faults did not happen: %v", seed, missing)
	}

	for name, was := range before {
		e.eventually(fmt.Sprintf("seed %d: route %s is as before", seed, name), func() bool { r := e.getRoute(name); return sessionFields(r) == was && !hasOurManagedFields(r) })
	}
	e.eventually(fmt.Sprintf("seed %d: no sandbox is left", seed), func() bool { return e.countSessionObjects() == 0 })
}

// hasOurManagedFields says whether a Route has a managedFields entry of osc-debug.
func hasOurManagedFields(r *routev1.Route) bool {
	return slices.ContainsFunc(r.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == record.FieldManager })
}

// waitForNoSession waits until a Route has no session. If one stays, it fails the test and logs what
// the guards logged about it.
func (e *env) waitForNoSession(route string, guards ...*running) {
	if waitUntil(e.t, e.ns, hang, pollInterval, "no session on "+route, func() bool { return record.Of(e.getRoute(route)) == nil }) {
		return
	}
	r := e.getRoute(route)
	e.t.Errorf("route %s: still has session %v after %s: %v", route, record.Of(r), hang, r.Annotations)
	for _, g := range guards {
		for line := range strings.Lines(g.progress.String()) {
			if strings.Contains(line, r.Labels[record.Label]) || strings.Contains(line, "restarting") {
				e.t.Log(line)
			}
		}
	}
}

// randomSession is a session with random options, on which random commands act.
type randomSession struct {
	e             *env
	route, config string
	before        string // sessionFields of the Route
	random        *rand.Rand
}

// run runs the session and returns shift's exit code, -1 if shift was killed.
func (s *randomSession) run() int {
	e, lot := s.e, s.random.IntN
	// Sessions begin at different times. Otherwise, one outage of Routes could refuse most of them.
	time.Sleep(time.Duration(lot(6000)) * time.Millisecond)
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
	if result.code == 0 && strings.Contains(result.errOut, "is as it was") { // no one else ended the session
		if r := e.getRoute(s.route); sessionFields(r) != s.before || hasOurManagedFields(r) {
			e.t.Errorf("the command says that the Route is as it was, but it is %s\n%s", sessionFields(r), result)
		}
		if left := e.podsMarked(record.RouteNameKey + "=" + s.route); len(left) > 0 {
			e.t.Errorf("the command says that the session is over, but pod %s is left\n%s", left[0].Name, result)
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
			for _, p := range e.podsMarked(record.RouteNameKey + "=" + s.route) {
				_ = e.patchReadiness(p.Name, false)
			}
		}
	}
	return result.code
}

// check fails the test on a panic, which no fault excuses.
func (s *randomSession) check(r result) {
	if strings.Contains(r.errOut, "panic:") || strings.Contains(r.errOut, "goroutine ") {
		s.e.t.Errorf("%s", r)
	}
}
