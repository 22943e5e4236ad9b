//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
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

// Two users, often, at the same instant: one has the Route, the other is told who, and nothing
// of him is left.
func TestTwoUsersAtTheSameInstant(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.bind("bob", "edit")
	before := e.standard()
	won := map[string]int{}
	for n := range number(t, "OSC_DEBUG_RACES", 12) {
		args := []string{"shift", "--route", "shop", "--router", routerIP, "--weight", "0", "--detach", "--no-probe"}
		alice, bob := e.start("alice", args...), e.start("bob", args...)
		a, b := alice.wait(), bob.wait()
		winner, loser := "alice", b
		if a.code != 0 {
			winner, loser = "bob", a
		}
		won[winner]++
		s := session.Of(e.shop())
		if a.code == b.code || s == nil || s.State != session.Live || s.Journal.User != winner {
			t.Fatalf("round %d: on the Route %+v\nalice: %s\nbob: %s", n, s, a, b)
		}
		if !strings.Contains(loser.errOut, "session "+s.ID+" of "+winner) {
			t.Errorf("round %d: the refusal does not name session %s of %s: %s", n, s.ID, winner, loser)
		}
		pods, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: session.Label + "," + session.Label + "!=" + s.ID})
		e.ok(err)
		services, err := core.CoreV1().Services(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: session.Label + "," + session.Label + "!=" + s.ID})
		e.ok(err)
		if len(pods.Items)+len(services.Items) > 0 {
			t.Errorf("round %d: the loser left %d pods, %d Services", n, len(pods.Items), len(services.Items))
		}
		if r := e.cli("rollback", "--drain", "0s"); r.code != 0 {
			t.Fatalf("round %d: %s", n, r)
		}
	}
	e.ended(before)
	t.Logf("alice won %d, bob %d", won["alice"], won["bob"])
}

// A tool that applies the Route every second: the user is told, nobody fights, the end
// is clean and the Route as the tool wants it.
func TestAToolThatReappliesTheRoute(t *testing.T) {
	for name, c := range map[string]struct {
		detach bool
		prune  bool // the tool removes what it does not know
		says   string
	}{
		"sets its weight":             {false, false, "set the weight of web to 100, the session to 0"},
		"removes what is not its own": {false, true, "somebody took the session off the Route"},
		"against the guard alone":     {true, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			before := e.standard()
			original := e.shop()
			args := []string{"--weight", "100", "--for", "15s"}
			if c.detach {
				args = []string{"--weight", "100", "--detach"}
			}
			run := e.guarded(args...)
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			ctx, stop := context.WithCancel(t.Context())
			var tool sync.WaitGroup
			writes := 0
			tool.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(time.Second) {
					if err := e.reapply(ctx, original, c.prune); err == nil {
						writes++
					} else if !apierrors.IsConflict(err) && ctx.Err() == nil {
						t.Errorf("the tool: %v", err)
					}
				}
			})
			defer func() { stop(); tool.Wait() }()
			if c.says != "" {
				e.eventually("the user is told", func() bool { return strings.Contains(run.progress.String(), c.says) })
				if r := run.wait(); r.code != 4 {
					t.Errorf("the Route was changed by others: %s", r)
				}
			}
			// Where the tool leaves no mark at all, the sandbox is an orphan after two minutes.
			e.endedWithin(150*time.Second, before)
			stop()
			tool.Wait()
			e.ended(before)
			t.Logf("applied %d times", writes)
		})
	}
}

// reapply writes the Route as a tool has it; with prune as a whole, else its weight.
func (e *env) reapply(ctx context.Context, original *routev1.Route, prune bool) error {
	if !prune {
		patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"to": map[string]any{"weight": original.Spec.To.Weight}}})
		_, err := routes.RouteV1().Routes(e.ns).Patch(ctx, "shop", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "tool"})
		return err
	}
	now, err := routes.RouteV1().Routes(e.ns).Get(ctx, "shop", metav1.GetOptions{})
	if err != nil {
		return err
	}
	whole := original.DeepCopy()
	whole.ResourceVersion, whole.ManagedFields = now.ResourceVersion, nil
	_, err = routes.RouteV1().Routes(e.ns).Update(ctx, whole, metav1.UpdateOptions{FieldManager: "tool"})
	return err
}
