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

// Two users start a session on the same Route at the same moment, several times. One gets the Route,
// the other learns who has it, and nothing of the other's session is left.
func TestTwoUsersAtTheSameInstant(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.bind("bob", "edit")
	before := e.createShop()
	won := map[string]int{}
	for n := range intFromEnv(t, "OSC_DEBUG_RACES", 6) {
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
			t.Fatalf("round %d: the Route has session %+v\nalice: %s\nbob: %s", n, s, a, b)
		}
		if !loser.reports(reason.RouteInSession) || !loser.mentions(s.ID, winner) {
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
	e.waitForEnd(before)
	summarize(t, "alice won %d times, bob %d times", won["alice"], won["bob"])
}

// A tool writes the Route every second. The user learns of it, osc-debug does not overwrite the
// tool's changes, and the session ends cleanly with the Route as the tool wants it.
func TestAToolThatReappliesTheRoute(t *testing.T) {
	t.Parallel()
	const change = "set the weight of web to 100 (session set 0)"
	for name, c := range map[string]struct {
		tool   tool
		why    reason.Code // reported by the command or by status
		change string      // part of the report
		event  string      // reason of the guard's Event; "" if a command attends the session
	}{
		"sets its weight":                                      {setsWeight, reason.WeightChangedByOthers, change, ""},
		"applies its manifest":                                 {applies, reason.WeightChangedByOthers, change, ""},
		"removes what is not its own":                          {replaces, reason.MarksRemoved, "", ""},
		"removes what is not its own, against the guard alone": {replaces, "", "", "DebugSessionMarksGone"},
		"sets its weight against the guard alone":              {setsWeight, reason.WeightChangedByOthers, change, "DebugSessionChanged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, written := newEnv(t), newWriteLog() // the writes of the command or of the guard
			before := e.createShop()
			original := e.shop()
			args := []string{"shift", "--route", "shop", "--router", routerIP, "--weight", "100"}
			user, account := "alice", e.prepareOwnGuard()
			if c.event == "" {
				user = e.proxied(user, written.handle)
			} else {
				args, account = append(args, "--detach"), e.proxied(account, written.handle)
			}
			e.startGuard("only", account)
			e.eventually("the guard is running", e.hasGuard)
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
				e.eventually("the command reports the change", func() bool { return run.reports(c.why) && strings.Contains(run.progress.String(), c.change) })
				run.signal(syscall.SIGINT) // has no effect if the command has ended already
				if r := run.wait(); r.code != 4 {
					t.Errorf("wanted exit 4, because others changed the Route: %s", r)
				}
			} else {
				e.eventually("an Event reports the change", func() bool {
					note := e.eventMessage(c.event)
					return note != "" && strings.Contains(note, c.change)
				})
			}
			if c.event == "DebugSessionChanged" {
				e.eventually("status reports the change too", func() bool {
					code, problem := e.sessionProblem()
					return code == c.why && strings.Contains(problem, c.change) && e.cli("status").mentions(c.change)
				})
			}
			e.expire()
			// If the tool removes all marks, the sandbox counts as an orphan after two minutes.
			e.waitForEnd(before)
			stop()
			tool.Wait()
			e.waitForEnd(before)
			// The tool's changes are not overwritten: the API server accepted at most a dry run, arm,
			// shift, restore and close.
			if n := len(written.patches); n > 1+4 {
				t.Errorf("the Route was patched %d times while the tool wrote it %d times: %s", n, writes.Load(), written)
			}
			t.Logf("the tool wrote the Route %d times", writes.Load())
		})
	}
}

// sessionProblem returns the problem that status shows for the only session, "" if there is none.
func (e *env) sessionProblem() (code reason.Code, text string) {
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

// tool is how a tool writes the Route.
type tool int

const (
	setsWeight tool = iota // sets the primary's original weight
	applies                // applies its manifest on the server side with force
	replaces               // replaces the whole Route, which removes what it does not know
)

// reapply writes the original Route as a tool does.
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
