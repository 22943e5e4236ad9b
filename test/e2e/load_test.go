//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// parallelFor calls do for 0 to n-1, with 24 calls at the same time.
func (e *env) parallelFor(n int, do func(int)) {
	var running sync.WaitGroup
	var next atomic.Int64
	for range 24 {
		running.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || e.t.Failed() {
					return
				}
				do(i)
			}
		})
	}
	running.Wait()
	if e.t.Failed() {
		e.t.FailNow()
	}
}

// memoryMiB returns a value of /proc/PID/status, such as VmRSS, in MiB.
func (e *env) memoryMiB(r *running, key string) int {
	e.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	e.ok(err)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			var kib int
			_, err := fmt.Sscan(rest, &kib)
			e.ok(err)
			return (kib + 1023) / 1024
		}
	}
	e.t.Fatalf("/proc/PID/status has no %s", key)
	return 0
}

// waitForRestores watches until Routes shop-FIRST and so on have their weights back, and returns how long
// after its session's end each was restored.
func (e *env) waitForRestores(ctx context.Context, first int, due []time.Time) []time.Duration {
	e.t.Helper()
	w, err := routes.RouteV1().Routes(e.ns).Watch(ctx, metav1.ListOptions{ResourceVersion: "0", LabelSelector: record.Label})
	e.ok(err)
	defer w.Stop()
	late := make([]time.Duration, len(due))
	left := len(due)
	for event := range w.ResultChan() {
		r, ok := event.Object.(*routev1.Route)
		var n int
		if !ok {
			continue
		}
		_, err := fmt.Sscanf(r.Name, "shop-%d", &n)
		n -= first
		if err != nil || n < 0 || n >= len(due) || late[n] != 0 || len(r.Spec.AlternateBackends) > 0 || *r.Spec.To.Weight != 100 {
			continue
		}
		late[n] = max(time.Since(due[n]), time.Nanosecond)
		if left--; left == 0 {
			return late
		}
	}
	e.t.Fatalf("%d Routes were not restored", left)
	return nil
}
