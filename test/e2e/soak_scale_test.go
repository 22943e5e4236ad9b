//go:build e2e && soak

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

const (
	manySessions  = 1000
	manyRoutes    = 10_000 // without sessions
	latestRestore = 60 * time.Second
	slowestStatus = time.Second
	plantTime     = 5 * time.Minute
)

// A thousand live sessions end within one minute, among ten thousand Routes without a session. The
// router is stopped meanwhile, because the test measures only the guard.
func TestSoakAThousandSessions(t *testing.T) {
	e := newEnv(t)
	devcluster(t, "stop", "router")
	t.Cleanup(func() { // delete the Routes first: with them the router would be busy for minutes
		e.deleteRoutes()
		devcluster(t, "start", "router")
	})
	account := e.prepareOwnGuard("drain=8s")
	log := &requestLog{}
	config := e.proxied(account, log.handle)

	// Routes without sessions cost the guard nothing: compare it before and after.
	g := e.startGuard("one", config)
	if !g.waitUntilLeading(t.Context(), "one") {
		t.Fatal(g.wait())
	}
	alone := e.memoryMiB(g, "VmRSS")
	e.parallelFor(manyRoutes, func(n int) { e.createPlainRoute(fmt.Sprintf("plain-%d", n)) })
	idle := e.countIdleRequests(log)
	with := e.memoryMiB(g, "VmRSS")
	e.judge("guard with 10,000 Routes without sessions: requests in 30 s (not Lease)", idle == 0, fmt.Sprint(idle), "0")
	e.judge(fmt.Sprintf("memory of the guard (%d MiB without them)", alone), with <= alone+4, fmt.Sprintf("%d MiB", with), "the same, +- 4 MiB")

	planted := make([]*record.Journal, manySessions)
	e.parallelFor(manySessions, func(n int) {
		name := fmt.Sprintf("shop-%d", n)
		e.createPlainRoute(name)
		planted[n] = e.plant(name, record.Arming, time.Hour)
	})
	e.parallelFor(manySessions, func(n int) { e.waitForEndpoints(record.ServiceName(planted[n].Session), true) })
	// All end within the minute after this.
	end := time.Now().Add(plantTime).Truncate(time.Second)
	due := make([]time.Time, manySessions)
	e.parallelFor(manySessions, func(n int) {
		due[n] = end.Add(time.Duration(n) * time.Minute / manySessions).Truncate(time.Second)
		e.goLive(fmt.Sprintf("shop-%d", n), planted[n], time.Until(due[n]))
	})
	if left := time.Until(end); left < 90*time.Second {
		t.Fatalf("creating the sessions took too long, only %s are left; raise plantTime", left)
	}
	var live int
	for n := range manySessions {
		if s := record.Of(e.getRoute(fmt.Sprintf("shop-%d", n))); s != nil && s.State == record.Live {
			live++
		}
	}
	e.judge("sessions live at the same time", live == manySessions, fmt.Sprint(live), fmt.Sprint(manySessions))
	idle = e.countIdleRequests(log)
	e.judge("idle guard: requests in 30 s (not Lease)", idle <= 8, fmt.Sprint(idle), "<= 8 (relists)")
	var took []time.Duration
	for range 5 {
		begin := time.Now()
		cmd := exec.Command(binary, "status", "-A")
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig("admin"))
		out, err := cmd.Output()
		e.ok(err)
		took = append(took, time.Since(begin))
		if rows := strings.Count(string(out), e.ns); rows != manySessions {
			t.Errorf("status -A has %d rows, wanted %d", rows, manySessions)
		}
	}
	slices.Sort(took)
	e.judge("status -A with 1000 sessions, median of 5", took[2] <= slowestStatus, took[2].Round(time.Millisecond).String(), "<= 1 s")

	ctx, cancel := context.WithDeadline(t.Context(), end.Add(4*time.Minute))
	defer cancel()
	late := e.waitForRestores(ctx, 0, due)
	e.judge("longest time from a session's end to its restored Route", slices.Max(late) <= latestRestore, fmt.Sprintf("%.1f s, median %.1f s", slices.Max(late).Seconds(), median(late).Seconds()), "<= 60 s")
	e.eventually("no sandbox is left", func() bool { return e.countSessionObjects() == 0 })
	most := e.memoryMiB(g, "VmHWM")
	summarize(t, "all sandboxes were deleted %.0f s after the last session's end", time.Since(due[manySessions-1]).Seconds())
	e.judge("peak memory of the guard", most <= mostMemory, fmt.Sprintf("%d MiB", most), "<= 64 MiB")
}

// deleteRoutes deletes all Routes of the namespace.
func (e *env) deleteRoutes() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		_ = routes.RouteV1().Routes(e.ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}) // deletes as many as it can before its timeout
		if list, err := routes.RouteV1().Routes(e.ns).List(ctx, metav1.ListOptions{Limit: 1}); err == nil && len(list.Items) == 0 {
			return
		}
	}
	e.t.Error("the Routes were not deleted within 10 min")
}

// countIdleRequests counts the requests within 30 s, except those for the Lease.
func (e *env) countIdleRequests(log *requestLog) (n int) {
	time.Sleep(20 * time.Second) // until controllers have handled the new objects
	before := len(log.all())
	time.Sleep(30 * time.Second)
	for _, r := range log.all()[before:] {
		if !strings.Contains(r, "/leases/") {
			n++
		}
	}
	return n
}

func devcluster(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(filepath.Dir(binary), "devcluster"), args...).CombinedOutput(); err != nil {
		t.Fatalf("devcluster %v: %v: %s", args, err, out)
	}
}
