//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// A detached session lives on without its command and ends at its time, or when
// extended later.
func TestTheGuardEndsADetachedSession(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	if r := e.guarded("--weight", "100", "--detach", "--ttl", "10m").wait(); r.code != 0 || !strings.Contains(r.errOut, "the guard ends it") {
		t.Fatal(r)
	}
	r := e.shop()
	if s := record.Of(r); s.State != record.Live || *r.Spec.To.Weight != 0 {
		t.Errorf("with a guard 100 percent means that nothing stays at the original: %+v", r.Spec)
	}
	if r := e.cli("extend", "6s"); r.code != 0 {
		t.Error(r)
	}
	if r := e.cli("extend", "9h"); r.code != 1 || !r.because(reason.TooLongExtension) || !r.names("3h3") {
		t.Error(r)
	}
	e.over()
	e.ended(before)
	e.eventually("an Event tells that the session expired", func() bool { return e.eventOf("DebugSessionExpired") != "" })
	time.Sleep(7 * time.Second) // longer than the guard waits for its caches
	for _, untrue := range []string{"DebugSessionChanged", "DebugSessionMarksGone"} {
		if says := e.eventOf(untrue); says != "" {
			t.Errorf("nobody else touched the Route, and an Event says: %s", says)
		}
	}
}

// kill -9 of the command at each step: the guard ends what it left, in the time that
// the step implies.
func TestTheGuardEndsWhatAKilledCommandLeft(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"arm", "build", "prove", "shift", "verify", "live", "restore", "drain", "delete"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			before := e.standard()
			run := e.guarded("--weight", "100", "--ttl", "15s", "--for", "1s", "--timeout", "30s")
			if !run.reaches(step) {
				t.Fatal(run.wait())
			}
			run.signal(syscall.SIGKILL)
			run.wait()
			time.Sleep(2 * time.Second) // what it had sent still arrives
			e.ended(before)             // arm-by is a minute after --timeout, draining gets a minute
		})
	}
}

// A sandbox that is no longer ready gets no traffic, at once; it stays, and can have
// traffic again when it is ready again.
func TestAnUnreadySandboxIsHeldAndResumed(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	id := e.detached("--weight", "100")
	e.ready(record.PodName(id, 0), false)
	e.eventually("the session is held", func() bool { return e.state() == record.Held })
	if w := *e.shop().Spec.To.Weight; w != 100 {
		t.Errorf("held, and the original has weight %d", w)
	}
	if r := e.cli("weight", "50", "--router", routerIP); r.code != 1 || !r.because(reason.NoReadySandboxPod) {
		t.Errorf("resumed without a ready pod: %s", r)
	}
	e.ready(record.PodName(id, 0), true)
	e.eventually("traffic again", func() bool { return e.cli("weight", "50", "--router", routerIP).code == 0 })
	if r := e.shop(); record.Of(r).State != record.Live || *r.Spec.AlternateBackends[0].Weight == 0 {
		t.Errorf("resumed: %+v", r.Spec)
	}
	if r := e.cli("weight", "25"); r.code != 0 || *e.shop().Spec.To.Weight == *e.shop().Spec.AlternateBackends[0].Weight {
		t.Errorf("weighed: %s", r)
	}
	e.bind("bob", "edit")
	if r := e.start("bob", "rollback", "--all", "--drain", "1s").wait(); r.code != 0 || !strings.Contains(r.errOut, "of alice") {
		t.Error(r)
	}
	e.ended(before)
}

// In the foreground too: the command says that the sandbox is held, and leaves it.
func TestAForegroundSessionIsHeldToo(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	run := e.guarded("--weight", "100")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	id := record.Of(e.shop()).ID
	e.ready(record.PodName(id, 0), false)
	if r := run.wait(); r.code != 1 || !r.because(reason.SandboxHeld) {
		t.Error(r)
	}
	if s := e.state(); s != record.Held {
		t.Errorf("state %q", s)
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.ended(before)
}

// weight keeps the floor that the session began with, and refuses what is too much for the
// sandbox' pods; rollback --wait=false leaves the rest to the guard.
func TestWeightOfADetachedSession(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 3, nil)
	e.route(nil)
	before := e.tested()
	e.detached("--weight", "20", "--failover", "--replicas", "1")
	if r := e.cli("weight", "100"); r.code != 1 || !r.because(reason.TooMuchForSandbox) || !r.names("100 %", "3.0", " 1 ", "give up to 50") {
		t.Error(r)
	}
	if r := e.cli("weight", "100", "--force"); r.code != 0 || *e.shop().Spec.To.Weight == 0 {
		t.Errorf("the original keeps the floor that --failover asked for: %s", r)
	}
	if r := e.cli("weight", "100", "--force", "--exact"); r.code != 0 || *e.shop().Spec.To.Weight != 0 {
		t.Errorf("--exact takes it: %s", r)
	}
	if r := e.cli("rollback", "--drain", "5m"); r.code != 2 || !r.because(reason.DrainTooLong) || !r.names("1m1s") {
		t.Error(r)
	}
	if r := e.cli("rollback", "--wait=false"); r.code != 0 || e.state() != record.Draining || *e.shop().Spec.To.Weight != 100 {
		t.Error(r)
	}
	e.ended(before)
}

// A session that began with 0 %, unproven, has served nobody: its first share is proven as at a
// beginning, or starts with the smallest one where nothing can be proven.
func TestTheFirstShareOfASessionThatBeganWithNone(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.sandboxIP = failingIP
	before := e.standard()
	e.detached("--weight", "0", "--no-probe")
	unchanged := looks(e.shop())
	if r := e.cli("weight", "100", "--router", routerIP); r.code != 1 || !r.because(reason.SandboxAnswersWorse) || !r.names(" 500 ", " 200") || looks(e.shop()) != unchanged {
		t.Errorf("%s, and the Route is %s", r, looks(e.shop()))
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.ended(before)

	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"metadata":{"annotations":{"haproxy.router.openshift.io/disable_cookies":"true"}}}`), metav1.PatchOptions{})
	e.ok(err)
	before = e.tested()
	e.detached("--weight", "0")
	log := &requestLog{}
	weight := e.start(e.proxied("alice", log.handle), "weight", "50", "--router", routerIP).wait()
	patches := 0
	for _, r := range log.all() {
		if strings.HasPrefix(r, "PATCH ") && strings.Contains(r, "/routes/shop") {
			patches++
		}
	}
	if weight.code != 0 || patches != 2 {
		t.Errorf("%d patches of the Route, wanted the smallest share and then all of it: %s\n%s", patches, weight, strings.Join(log.all(), "\n"))
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.ended(before)
}

// 'oc set route-backends' that makes the sandbox the primary backend: the original is not
// named twice afterwards, also where the journal is gone and the guard goes by our name.
func TestASandboxMadePrimary(t *testing.T) {
	t.Parallel()
	for name, journal := range map[string]bool{"with its journal": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			e.standard()
			e.detached("--weight", "50")
			r := e.shop()
			r.Spec.To, r.Spec.AlternateBackends[0] = r.Spec.AlternateBackends[0], r.Spec.To
			if !journal {
				delete(r.Annotations, record.JournalKey)
			}
			_, err := routes.RouteV1().Routes(e.ns).Update(t.Context(), r, metav1.UpdateOptions{})
			e.ok(err)
			if journal {
				if r := e.cli("rollback", "--drain", "1s"); r.code != 4 {
					t.Error(r)
				}
			}
			e.eventually("the session's end", e.clean)
			if spec := e.shop().Spec; spec.To.Name != "web" || *spec.To.Weight == 0 || len(spec.AlternateBackends) != 0 {
				t.Errorf("the Route afterwards: %+v", spec)
			}
			e.nothingLeft()
		})
	}
}

// status sees the sessions of all namespaces for who may list them, and goes on telling
// of each change.
func TestStatusOfAllAndWatched(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	away := &outage{starts: 2 * time.Second}
	watch, tree := e.start(e.proxied("alice", away.handle), "status", "-w"), e.start("alice", "status", "-w", "-o", "tree")
	id := e.detached("--weight", "50")
	pod := record.PodName(id, 0)
	// No write to the Route tells of these.
	service := record.ServiceName(id)
	e.ready(pod, false)
	e.endpoints(service, false)
	e.eventually("it is printed", func() bool { return strings.Contains(tree.out.String(), pod+"  Running, not ready") })
	away.begin()
	time.Sleep(2 * time.Second) // some tries
	away.end()
	time.Sleep(3 * time.Second) // it refuses everybody, and then no more
	e.ready(pod, true)
	e.endpoints(service, true)
	e.scale("web", 2)
	if r := e.start("admin", "status", "-A").wait(); r.code != 0 || !strings.Contains(r.out, e.ns) || !strings.Contains(r.out, "NAMESPACE") {
		t.Errorf("all: %s", r)
	}
	if r := e.cli("status", "-A"); r.code != 6 {
		t.Errorf("alice may not list Routes of all namespaces: %s", r)
	}
	if r := e.cli("rollback", "--drain", "2s"); r.code != 0 {
		t.Error(r)
	}
	e.eventually("the end is told", func() bool { return strings.Contains(watch.progress.String(), "no session any more") })
	watch.signal(syscall.SIGINT)
	tree.signal(syscall.SIGINT)
	shown := tree.wait()
	for _, says := range []string{", 2 server(s), ", pod + "  Running, not ready", pod + "  Running, ready"} {
		if !strings.Contains(shown.out, says) {
			t.Errorf("the tree never had %q: %s", says, shown)
		}
	}
	r := watch.wait()
	for _, state := range []string{"arming", "live", "draining"} {
		if strings.Count(r.out, "ROUTE") != 1 || !strings.Contains(r.out, " "+state+" ") {
			t.Errorf("watched: no head, or no row that is %s: %s", state, r)
		}
	}
	e.ended(before)
}
