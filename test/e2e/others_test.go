//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Two users, often, at the same instant: one has the Route, the other is told who, and nothing
// of him is left.
func TestTwoUsersAtTheSameInstant(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.bind("bob", "edit")
	before := e.standard()
	won := map[string]int{}
	for n := range number(t, "OSC_DEBUG_RACES", 6) {
		args := []string{"shift", "--route", "shop", "--router", routerIP, "--weight", "0", "--detach", "--no-probe"}
		alice, bob := e.start("alice", args...), e.start("bob", args...)
		a, b := alice.wait(), bob.wait()
		winner, loser := "alice", b
		if a.code != 0 {
			winner, loser = "bob", a
		}
		won[winner]++
		s := record.Of(e.shop())
		if a.code == b.code || s == nil || s.State != record.Live || s.Journal.User != winner {
			t.Fatalf("round %d: on the Route %+v\nalice: %s\nbob: %s", n, s, a, b)
		}
		if !loser.because(reason.RouteInSession) || !loser.names(s.ID, winner) {
			t.Errorf("round %d: the refusal does not name session %s of %s: %s", n, s.ID, winner, loser)
		}
		pods, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: record.Label + "," + record.Label + "!=" + s.ID})
		e.ok(err)
		services, err := core.CoreV1().Services(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: record.Label + "," + record.Label + "!=" + s.ID})
		e.ok(err)
		if len(pods.Items)+len(services.Items) > 0 {
			t.Errorf("round %d: the loser left %d pods, %d Services", n, len(pods.Items), len(services.Items))
		}
		if r := e.cli("rollback", "--drain", "0s"); r.code != 0 {
			t.Fatalf("round %d: %s", n, r)
		}
	}
	e.ended(before)
	told(t, "alice won %d, bob %d", won["alice"], won["bob"])
}

// A tool that applies the Route every second: the user is told, nobody fights, the end
// is clean and the Route as the tool wants it.
func TestAToolThatReappliesTheRoute(t *testing.T) {
	t.Parallel()
	const change = "set the weight of web to 100, the session to 0"
	for name, c := range map[string]struct {
		tool   tool
		why    reason.Code // that a command tells
		change string      // that is told too
		event  string      // where the session is left to the guard, which tells by an Event
	}{
		"sets its weight":                                      {setsWeight, reason.WeightChangedByOthers, change, ""},
		"applies its manifest":                                 {applies, reason.WeightChangedByOthers, change, ""},
		"removes what is not its own":                          {replaces, reason.MarksRemoved, "", ""},
		"removes what is not its own, against the guard alone": {replaces, "", "", "DebugSessionMarksGone"},
		"sets its weight against the guard alone":              {setsWeight, reason.WeightChangedByOthers, change, "DebugSessionChanged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, written := newEnv(t), newWrites() // of whoever must not fight
			before := e.standard()
			original := e.shop()
			args := []string{"shift", "--route", "shop", "--router", routerIP, "--weight", "100"}
			user, account := "alice", e.ownGuards()
			if c.event == "" {
				user = e.proxied(user, written.handle)
			} else {
				args, account = append(args, "--detach"), e.proxied(account, written.handle)
			}
			e.guard("only", account)
			e.eventually("the guard stands by", e.standsBy)
			run := e.start(user, args...)
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			ctx, stop := context.WithCancel(t.Context())
			var tool sync.WaitGroup
			var writes atomic.Int32
			tool.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(time.Second) {
					if err := e.reapply(ctx, original, c.tool); err == nil {
						writes.Add(1)
					} else if !apierrors.IsConflict(err) && ctx.Err() == nil {
						t.Errorf("the tool: %v", err)
					}
				}
			})
			defer func() { stop(); tool.Wait() }()
			if c.event == "" {
				e.eventually("the user is told", func() bool { return run.because(c.why) && strings.Contains(run.progress.String(), c.change) })
				run.signal(syscall.SIGINT) // of one that has ended already nobody hears
				if r := run.wait(); r.code != 4 {
					t.Errorf("the Route was changed by others: %s", r)
				}
			} else {
				e.eventually("an Event tells", func() bool {
					note := e.eventOf(c.event)
					return note != "" && strings.Contains(note, c.change)
				})
			}
			if c.event == "DebugSessionChanged" {
				e.eventually("status tells too", func() bool {
					code, problem := e.problem()
					return code == c.why && strings.Contains(problem, c.change) && e.cli("status").names(c.change)
				})
			}
			e.over()
			// Where the tool leaves no mark at all, the sandbox is an orphan after two minutes.
			e.ended(before)
			stop()
			tool.Wait()
			e.ended(before)
			// Nothing of what the tool writes is written over: a dry run, arm, shift, restore and
			// close are all that the API server accepted.
			if n := len(written.patches); n > 1+4 {
				t.Errorf("the Route was patched %d times while the tool wrote it %d times: %s", n, writes.Load(), written)
			}
			t.Logf("written %d times by the tool", writes.Load())
		})
	}
}

// problem is what status says that somebody should do something about, of the only session.
func (e *env) problem() (code reason.Code, text string) {
	e.t.Helper()
	var list struct {
		Sessions []struct {
			ProblemCode reason.Code
			Problem     string
		}
	}
	if err := json.Unmarshal([]byte(e.cli("status", "-o", "json").out), &list); err != nil || len(list.Sessions) != 1 {
		return "", ""
	}
	return list.Sessions[0].ProblemCode, list.Sessions[0].Problem
}

// tool is how a tool writes a Route again and again.
type tool int

const (
	setsWeight tool = iota // as it was
	applies                // its manifest, on the server's side, over all conflicts
	replaces               // the whole Route: what it does not know goes
)

// reapply writes the Route as a tool has it.
func (e *env) reapply(ctx context.Context, original *routev1.Route, how tool) error {
	switch how {
	case applies:
		force := true
		manifest, _ := json.Marshal(map[string]any{"apiVersion": "route.openshift.io/v1", "kind": "Route", "metadata": map[string]any{"name": original.Name},
			"spec": map[string]any{"host": original.Spec.Host, "to": original.Spec.To, "port": original.Spec.Port}})
		_, err := routes.RouteV1().Routes(e.ns).Patch(ctx, "shop", types.ApplyPatchType, manifest, metav1.PatchOptions{FieldManager: "gitops", Force: &force})
		return err
	case setsWeight:
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
