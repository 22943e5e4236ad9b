//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// atATime bounds the processes of a test that run at once.
const atATime = 8

// kill -9 of the command directly before and directly after every request that it makes:
// whatever was written, the guard puts the Route back and deletes the sandbox.
func TestKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from  record.State // that the Route's session is in, "" for no session
		args  []string
		needs []string // requests that the list must have
	}{
		"shift": {"", []string{"shift", "--router", routerIP, "--weight", "100", "--ttl", "15s", "--for", "500ms", "--timeout", "20s"},
			[]string{"POST /api/v1/namespaces/…/pods", "POST /apis/networking.k8s.io/v1/namespaces/…/networkpolicies", "PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…"}},
		"shift by steps": {"", []string{"shift", "--router", routerIP, "--steps", "20,100", "--interval", "200ms", "--ttl", "20s", "--for", "1500ms", "--timeout", "20s"},
			[]string{"POST /api/v1/namespaces/…/pods", "PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…"}},
		"weight":   {record.Held, []string{"weight", "50", "--router", routerIP}, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…"}},
		"extend":   {record.Live, []string{"extend", "3s"}, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…"}},
		"rollback": {record.Live, []string{"rollback", "--drain", "500ms"}, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…", "DELETE /api/v1/namespaces/…/pods/osc-debug-…-a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			e.deployment("web", 1, nil)
			e.isolated()
			run := func(name, config string) *running {
				if c.from != "" {
					e.plant(name, c.from, 40*time.Second)
				}
				return e.start(config, append(c.args, "--route", name)...)
			}
			e.killEverywhere(e.record(strings.ReplaceAll(name, " ", "-"), run, c.needs), atATime, 0, run)
		})
	}
}

// The same for a rollback that takes the way back in steps, since an autoscaler shrank the
// original: what it was killed at is a live session, whose time is over in two minutes.
func TestASlowRollbackKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.autoscaler("web")
	run := func(name, config string) *running {
		e.plant(name, record.Live, 2*time.Minute)
		return e.start(config, "rollback", "--drain", "500ms", "--route", name)
	}
	e.killEverywhere(e.record("slow-rollback", run, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/… #4"}), 4*atATime, 0, run)
}

// record lists the instants to kill a command at, of those that it has when nothing disturbs it.
// needs are requests without which the test would be none of what it is for.
func (e *env) record(matrix string, run func(route, config string) *running, needs []string) []instant {
	e.t.Helper()
	e.namedRoute("recorded")
	var all, seen []instant
	for try := 1; ; try++ { // its times are short: on a busy machine they may be over too soon
		log := &requestLog{}
		r := run("recorded", e.proxied("alice", log.handle)).wait()
		all = instants(log.all())
		seen = append(seen, all...)
		if r.code == 0 {
			break
		}
		if try == killTries {
			e.t.Fatal(r)
		}
		e.laneFree("recorded")
	}
	for _, need := range needs {
		if !slices.ContainsFunc(all, func(p instant) bool { return strings.Contains(p.String(), need) }) {
			e.t.Fatalf("the command made no request %s: %v", need, all)
		}
	}
	return sampled(e.t, matrix, false, all, seen)
}

func (e *env) namedRoute(name string) *routev1.Route {
	e.t.Helper()
	return e.route(func(r *routev1.Route) { r.Name, r.Spec.Host = name, name+"-"+r.Spec.Host })
}

// killEverywhere kills a command at each instant, on a Route of its own each, some at a time, and
// waits until the guard has ended all of that. 'make soak' asks also how long that took: the
// backends are back at the time that the session's state implies, the last mark goes when the pods
// have ended, which may take podsEnd.
func (e *env) killEverywhere(at []instant, atATime int, podsEnd time.Duration, run func(route, config string) *running) {
	e.t.Helper()
	before, cases := map[string]*routev1.Route{}, map[string]instant{}
	for n, p := range at {
		name := fmt.Sprintf("shop-%d", n)
		before[name], cases[name] = e.namedRoute(name), p
	}
	var running sync.WaitGroup
	var missed, due sync.Map
	restored, stop := e.restoredAt(before)
	defer stop()
	free := make(chan struct{}, atATime)
	for name, p := range cases {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			for try := 1; ; try++ {
				k := newKiller(p)
				r := run(name, e.proxied("alice", k.handle))
				k.process <- r
				result := r.wait()
				if k.killed.Load() || p.polls() {
					due.Store(name, e.endsBy(name))
					return
				}
				if try == killTries {
					missed.Store(name, fmt.Sprintf("not killed %s: the command made no such request: %s", p, result))
					return
				}
			}
		})
	}
	running.Wait()
	missed.Range(func(_, why any) bool {
		e.t.Error(why)
		return true
	})

	e.eventually("all Routes as before", func() bool { return len(restored()) == len(before) })
	e.eventually("no sandbox is left", func() bool { return e.sandboxes() == 0 })
	if full {
		e.late(restored(), &due, podsEnd, cases)
	}
}

// late fails for Routes that were as before later than a guard, and its pods, may take.
func (e *env) late(since map[string]restore, due *sync.Map, podsEnd time.Duration, cases map[string]instant) {
	e.t.Helper()
	due.Range(func(name, by any) bool {
		now := since[name.(string)]
		if late := now.backends.Sub(by.(time.Time)); late > 0 {
			e.t.Errorf("killed %s: route %s had its backends %s later than a guard may take", cases[name.(string)], name, late)
		}
		if late := now.all.Sub(by.(time.Time)); late > podsEnd {
			e.t.Errorf("killed %s: route %s was as before %s later than a guard and its pods may take", cases[name.(string)], name, late)
		}
		return true
	})
}

// guardsDelay is what is granted the guard beyond the times of the design: its slack, the
// test's drain of a second, and a machine on which dozens of processes begin and end.
const guardsDelay = 40 * time.Second

// endsBy says when a Route whose command was killed must be as before, by its state: arming
// and live at the times that its journal names, draining a minute after it was restored, one
// without any mark at once, its sandbox after the two minutes of an orphan.
func (e *env) endsBy(route string) time.Time {
	s := record.Of(e.routeNamed(route))
	by := time.Now()
	switch {
	case s == nil:
	case s.Journal == nil:
		by = by.Add(settings.Courtesy)
	case s.State == record.Arming:
		by = s.Journal.ArmBy.Time
	default:
		by = s.Journal.Expires.Time
	}
	return by.Add(guardsDelay)
}

// restore is since when a Route has the backends from before a session, and since when it is all
// as before, with no entry of ours in its managedFields: that waits for the sandbox' end.
type restore struct{ backends, all time.Time }

// restoredAt watches Routes until stop is called, and tells of those that are as before.
func (e *env) restoredAt(before map[string]*routev1.Route) (restored func() map[string]restore, stop func()) {
	var mu sync.Mutex
	since := map[string]restore{}
	ctx, cancel := context.WithCancel(e.t.Context())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(time.Second) {
			list, err := routes.RouteV1().Routes(e.ns).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				continue
			}
			mu.Lock()
			for i := range list.Items {
				r := &list.Items[i]
				was := before[r.Name]
				if was == nil {
					continue
				}
				at := since[r.Name]
				stamp(&at.backends, reflect.DeepEqual(record.WeightsOf(was), record.WeightsOf(r)))
				stamp(&at.all, looks(was) == looks(r) && !managed(r))
				since[r.Name] = at
			}
			mu.Unlock()
		}
	})
	return func() map[string]restore {
		mu.Lock()
		defer mu.Unlock()
		done := maps.Clone(since)
		maps.DeleteFunc(done, func(_ string, at restore) bool { return at.all.IsZero() })
		return done
	}, func() { cancel(); looking.Wait() }
}

// stamp keeps since when something is so.
func stamp(t *time.Time, so bool) {
	switch {
	case !so:
		*t = time.Time{}
	case t.IsZero():
		*t = time.Now()
	}
}

// isolated gives the original a NetworkPolicy, which sessions copy.
func (e *env) isolated() {
	e.t.Helper()
	_, err := core.NetworkingV1().NetworkPolicies(e.ns).Create(e.t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
	}, metav1.CreateOptions{})
	e.ok(err)
}

// sandboxes counts the objects of sessions.
func (e *env) sandboxes() int {
	e.t.Helper()
	of := metav1.ListOptions{LabelSelector: record.Label}
	pods, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), of)
	e.ok(err)
	services, err := core.CoreV1().Services(e.ns).List(e.t.Context(), of)
	e.ok(err)
	budgets, err := core.PolicyV1().PodDisruptionBudgets(e.ns).List(e.t.Context(), of)
	e.ok(err)
	policies, err := core.NetworkingV1().NetworkPolicies(e.ns).List(e.t.Context(), of)
	e.ok(err)
	return len(pods.Items) + len(services.Items) + len(budgets.Items) + len(policies.Items)
}

// looks is what a session may change of a Route.
func looks(r *routev1.Route) string {
	text, err := json.Marshal([]any{r.Spec, r.Labels, r.Annotations})
	if err != nil {
		return err.Error()
	}
	return string(text)
}
