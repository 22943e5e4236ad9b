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

// A detached session continues without its command and ends at its end time, which can be extended.
func TestTheGuardEndsADetachedSession(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	if r := e.guardedShift("--weight", "100", "--detach", "--ttl", "10m").wait(); r.code != 0 || !strings.Contains(r.errOut, "the guard ends it") {
		t.Fatal(r)
	}
	r := e.shop()
	if s := record.Of(r); s.State != record.Live || *r.Spec.To.Weight != 0 {
		t.Errorf("with a guard, --weight 100 must leave the original no traffic: %+v", r.Spec)
	}
	if r := e.cli("extend", "6s"); r.code != 0 {
		t.Error(r)
	}
	if r := e.cli("extend", "9h"); r.code != 1 || !r.reports(reason.TooLongExtension) || !r.mentions("3h3") {
		t.Error(r)
	}
	e.expire()
	e.waitForEnd(before)
	e.eventually("an Event reports that the session expired", func() bool { return e.eventMessage("DebugSessionExpired") != "" })
	time.Sleep(7 * time.Second) // longer than the guard waits for its caches
	for _, wrong := range []string{"DebugSessionChanged", "DebugSessionMarksGone"} {
		if message := e.eventMessage(wrong); message != "" {
			t.Errorf("no one else changed the Route, but an Event says: %s", message)
		}
	}
}

// After kill -9 of the command at any step, the guard ends the session.
func TestTheGuardEndsWhatAKilledCommandLeft(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"arm", "build", "prove", "shift", "verify", "live", "restore", "drain", "delete"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			before := e.createShop()
			run := e.guardedShift("--weight", "100", "--ttl", "15s", "--for", "1s", "--timeout", "30s")
			if !run.reaches(step) {
				t.Fatal(run.wait())
			}
			run.signal(syscall.SIGKILL)
			run.wait()
			time.Sleep(2 * time.Second) // requests that it had sent still arrive
			e.waitForEnd(before)        // armBy is a minute after --timeout; draining may take a minute
		})
	}
}

// The guard takes the traffic off a sandbox that is no longer ready and keeps its pods. Once the
// sandbox is ready again, the session can be resumed.
func TestAnUnreadySandboxIsHeldAndResumed(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	id := e.detachedShift("--weight", "100")
	e.setReady(record.PodName(id, 0), false)
	e.eventually("the session is held", func() bool { return e.state() == record.Held })
	if w := *e.shop().Spec.To.Weight; w != 100 {
		t.Errorf("the session is held, but the original has weight %d", w)
	}
	if r := e.cli("weight", "50", "--router", routerIP); r.code != 1 || !r.reports(reason.NoReadySandboxPod) {
		t.Errorf("the session was resumed without a ready pod: %s", r)
	}
	e.setReady(record.PodName(id, 0), true)
	e.eventually("the session is resumed", func() bool { return e.cli("weight", "50", "--router", routerIP).code == 0 })
	if r := e.shop(); record.Of(r).State != record.Live || *r.Spec.AlternateBackends[0].Weight == 0 {
		t.Errorf("after the session was resumed: %+v", r.Spec)
	}
	if r := e.cli("weight", "25"); r.code != 0 || *e.shop().Spec.To.Weight == *e.shop().Spec.AlternateBackends[0].Weight {
		t.Errorf("weight 25: %s", r)
	}
	e.bind("bob", "edit")
	if r := e.start("bob", "rollback", "--all", "--drain", "1s").wait(); r.code != 0 || !strings.Contains(r.errOut, "of alice") {
		t.Error(r)
	}
	e.waitForEnd(before)
}

// A session in the foreground is held too: the command reports that and ends, and the sandbox stays.
func TestAForegroundSessionIsHeldToo(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	run := e.guardedShift("--weight", "100")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	id := record.Of(e.shop()).ID
	e.setReady(record.PodName(id, 0), false)
	if r := run.wait(); r.code != 1 || !r.reports(reason.SandboxHeld) {
		t.Error(r)
	}
	if s := e.state(); s != record.Held {
		t.Errorf("state %q, wanted held", s)
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.waitForEnd(before)
}

// 'weight' keeps the original's minimum share that the session started with, and refuses a share
// that is too large for the sandbox's pods. 'rollback --wait=false' leaves the rest to the guard.
func TestWeightOfADetachedSession(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 3, nil)
	e.route(nil)
	before := e.snapshot()
	e.detachedShift("--weight", "20", "--failover", "--replicas", "1")
	if r := e.cli("weight", "100"); r.code != 1 || !r.reports(reason.TooMuchForSandbox) || !r.mentions("100 %", "3.0", " 1 ", "weight of 50 or less") {
		t.Error(r)
	}
	if r := e.cli("weight", "100", "--force"); r.code != 0 || *e.shop().Spec.To.Weight == 0 {
		t.Errorf("the original must keep the minimum share that --failover asked for: %s", r)
	}
	if r := e.cli("weight", "100", "--force", "--exact"); r.code != 0 || *e.shop().Spec.To.Weight != 0 {
		t.Errorf("--exact must take the original's minimum share away: %s", r)
	}
	if r := e.cli("rollback", "--drain", "5m"); r.code != 2 || !r.reports(reason.DrainTooLong) || !r.mentions("1m1s") {
		t.Error(r)
	}
	if r := e.cli("rollback", "--wait=false"); r.code != 0 || e.state() != record.Draining || *e.shop().Spec.To.Weight != 100 {
		t.Error(r)
	}
	e.waitForEnd(before)
}

// A session that started with 0 % and without a proof has not served users yet. Its first share
// is proven as at a session's start or, where no proof is possible, begins with the smallest share.
func TestTheFirstShareOfASessionThatBeganWithNone(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.sandboxIP = failingIP
	before := e.createShop()
	e.detachedShift("--weight", "0", "--no-probe")
	unchanged := sessionFields(e.shop())
	if r := e.cli("weight", "100", "--router", routerIP); r.code != 1 || !r.reports(reason.SandboxAnswersWorse) || !r.mentions(" 500 ", " 200") || sessionFields(e.shop()) != unchanged {
		t.Errorf("%s; the Route is %s", r, sessionFields(e.shop()))
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.waitForEnd(before)

	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"metadata":{"annotations":{"haproxy.router.openshift.io/disable_cookies":"true"}}}`), metav1.PatchOptions{})
	e.ok(err)
	before = e.snapshot()
	e.detachedShift("--weight", "0")
	log := &requestLog{}
	weight := e.start(e.proxied("alice", log.handle), "weight", "50", "--router", routerIP).wait()
	patches := 0
	for _, r := range log.all() {
		if strings.HasPrefix(r, "PATCH ") && strings.Contains(r, "/routes/shop") {
			patches++
		}
	}
	if weight.code != 0 || patches != 2 {
		t.Errorf("%d patches of the Route, wanted 2 (the smallest share, then the full one): %s\n%s", patches, weight, strings.Join(log.all(), "\n"))
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.waitForEnd(before)
}

// After 'oc set route-backends' made the sandbox the primary backend, the restored Route names the
// original only once. This holds also without the journal, where the guard knows the sandbox only
// by its Service's name.
func TestASandboxMadePrimary(t *testing.T) {
	t.Parallel()
	for name, journal := range map[string]bool{"with its journal": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			e.createShop()
			e.detachedShift("--weight", "50")
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
			e.eventually("the session has ended", e.isClean)
			if spec := e.shop().Spec; spec.To.Name != "web" || *spec.To.Weight == 0 || len(spec.AlternateBackends) != 0 {
				t.Errorf("the Route afterwards: %+v", spec)
			}
			e.checkNothingLeft()
		})
	}
}

// 'status -A' lists the sessions of all namespaces for users with permission to list Routes everywhere;
// 'status -w' prints every change.
func TestStatusOfAllAndWatched(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	server := &outage{starts: 2 * time.Second}
	watch, tree := e.start(e.proxied("alice", server.handle), "status", "-w"), e.start("alice", "status", "-w", "-o", "tree")
	id := e.detachedShift("--weight", "50")
	pod := record.PodName(id, 0)
	// These changes cause no write to the Route.
	service := record.ServiceName(id)
	e.setReady(pod, false)
	e.waitForEndpoints(service, false)
	e.eventually("the tree shows the unready pod", func() bool { return strings.Contains(tree.out.String(), pod+"  Running, not ready") })
	server.begin()
	time.Sleep(2 * time.Second) // time for some retries
	server.end()
	time.Sleep(3 * time.Second) // the API server rejects all requests for 2 s of these
	e.setReady(pod, true)
	e.waitForEndpoints(service, true)
	e.scale("web", 2)
	if r := e.start("admin", "status", "-A").wait(); r.code != 0 || !strings.Contains(r.out, e.ns) || !strings.Contains(r.out, "NAMESPACE") {
		t.Errorf("status -A: %s", r)
	}
	if r := e.cli("status", "-A"); r.code != 6 {
		t.Errorf("status -A must fail for alice, who cannot list Routes of all namespaces: %s", r)
	}
	if r := e.cli("rollback", "--drain", "2s"); r.code != 0 {
		t.Error(r)
	}
	e.eventually("status reports the end", func() bool { return strings.Contains(watch.progress.String(), "no session any more") })
	watch.signal(syscall.SIGINT)
	tree.signal(syscall.SIGINT)
	shown := tree.wait()
	for _, want := range []string{", 2 server(s), ", pod + "  Running, not ready", pod + "  Running, ready"} {
		if !strings.Contains(shown.out, want) {
			t.Errorf("the tree never showed %q: %s", want, shown)
		}
	}
	r := watch.wait()
	for _, state := range []string{"arming", "live", "draining"} {
		if strings.Count(r.out, "ROUTE") != 1 || !strings.Contains(r.out, " "+state+" ") {
			t.Errorf("status -w: not one header, or no row with state %s: %s", state, r)
		}
	}
	e.waitForEnd(before)
}
