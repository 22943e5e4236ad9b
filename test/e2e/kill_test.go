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

// parallelKills bounds how many processes of a test run at the same time.
const parallelKills = 8

// The command is ended by kill -9 directly before and directly after every request that it makes.
// Whatever it had written, the guard restores the Route and deletes the sandbox.
func TestKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from  record.State // state of the planted session, "" for none
		args  []string
		needs []string // requests that the command must make
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
			e.addNetworkPolicy()
			run := func(name, config string) *running {
				if c.from != "" {
					e.plant(name, c.from, 40*time.Second)
				}
				return e.start(config, append(c.args, "--route", name)...)
			}
			e.killAtEach(e.recordInstants(strings.ReplaceAll(name, " ", "-"), run, c.needs), parallelKills, 0, run)
		})
	}
}

// The same for a gradual rollback, which happens after an autoscaler scaled the original down. It
// leaves a live session, which ends two minutes after it was planted.
func TestASlowRollbackKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.autoscaler("web")
	run := func(name, config string) *running {
		e.plant(name, record.Live, 2*time.Minute)
		return e.start(config, "rollback", "--drain", "500ms", "--route", name)
	}
	e.killAtEach(e.recordInstants("slow-rollback", run, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/… #4"}), 4*parallelKills, 0, run)
}

// recordInstants runs a command undisturbed and returns the instants to kill it at. It fails the
// test if the command does not make one of the requests in needs, which the test is about. The command
// runs again if it did not make a request that is listed: on a busy machine, the time for it may pass.
func (e *env) recordInstants(matrix string, run func(route, config string) *running, needs []string) []instant {
	e.t.Helper()
	e.createRouteNamed("recorded")
	var all []instant
	for try := 1; ; try++ { // the session's times are short, so it may expire early on a busy machine
		log := &requestLog{}
		r := run("recorded", e.proxied("alice", log.handle)).wait()
		for _, p := range instants(log.all()) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
		if r.code == 0 && (try == killTries || *update || len(notAmong(e.t, matrix, all)) == 0) {
			break
		}
		if try == killTries {
			e.t.Fatal(r)
		}
		e.waitForNoSession("recorded")
	}
	for _, need := range needs {
		if !slices.ContainsFunc(all, func(p instant) bool { return strings.Contains(p.String(), need) }) {
			e.t.Fatalf("the command made no request %s: %v", need, all)
		}
	}
	return sampleInstants(e.t, matrix, false, all, all)
}

func (e *env) createRouteNamed(name string) *routev1.Route {
	e.t.Helper()
	return e.route(func(r *routev1.Route) { r.Name, r.Spec.Host = name, name+"-"+r.Spec.Host })
}

// killAtEach kills a command at each instant, each time on another Route and parallelKills at once,
// and waits until the guard has ended all sessions. 'make soak' also checks the time: the backends
// must be restored by the time that the session's state implies (restoreDeadline), and the last
// mark must be gone at most podsEnd later, when the pods have ended.
func (e *env) killAtEach(at []instant, parallelKills int, podsEnd time.Duration, run func(route, config string) *running) {
	e.t.Helper()
	before, cases := map[string]*routev1.Route{}, map[string]instant{}
	for n, p := range at {
		name := fmt.Sprintf("shop-%d", n)
		before[name], cases[name] = e.createRouteNamed(name), p
	}
	var running sync.WaitGroup
	var missed, due sync.Map
	restored, stop := e.watchRestores(before)
	defer stop()
	free := make(chan struct{}, parallelKills)
	for name, p := range cases {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			for try := 1; ; try++ {
				killing.wait(e.t.Context(), false, killEvery)
				k := newKiller(p)
				r := run(name, e.proxied("alice", k.handle))
				k.process <- r
				result := r.wait()
				if k.killed.Load() || p.isPolling() {
					due.Store(name, e.restoreDeadline(name))
					return
				}
				if try == killTries {
					missed.Store(name, fmt.Sprintf("the command was not killed %s, because it made no such request: %s", p, result))
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

	e.eventually("all Routes are as before", func() bool { return len(restored()) == len(before) })
	e.eventually("no sandbox is left", func() bool { return e.countSessionObjects() == 0 })
	if full {
		e.checkRestoreTimes(restored(), &due, podsEnd, cases)
	}
}

// checkRestoreTimes fails the test for Routes that were restored later than by.
func (e *env) checkRestoreTimes(since map[string]restoreTimes, due *sync.Map, podsEnd time.Duration, cases map[string]instant) {
	e.t.Helper()
	due.Range(func(name, by any) bool {
		now := since[name.(string)]
		if late := now.backends.Sub(by.(time.Time)); late > 0 {
			e.t.Errorf("killed %s: the backends of route %s were restored %s too late", cases[name.(string)], name, late)
		}
		if late := now.all.Sub(by.(time.Time)); late > podsEnd {
			e.t.Errorf("killed %s: the last mark on route %s was removed %s after its backends were due, allowed are %s", cases[name.(string)], name, late, podsEnd)
		}
		return true
	})
}

// guardAllowance is added to the times that the design gives the guard. It covers the guard's own
// slack, the test's drain of 1 s, and a machine on which dozens of processes start and end.
const guardAllowance = 40 * time.Second

// restoreDeadline returns when the guard must have restored a Route whose command was killed. A
// session that is arming, live or held is due at the time in its journal, one that is draining
// settings.Courtesy from now. A Route without a mark is due now; its sandbox is an orphan, which
// the guard deletes after two minutes.
func (e *env) restoreDeadline(route string) time.Time {
	s := record.Of(e.getRoute(route))
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
	return by.Add(guardAllowance)
}

// restoreTimes are the times since which a Route has its original backends, and since which it is
// entirely as before, with no managedFields entry of osc-debug. The latter happens only after the
// sandbox has ended.
type restoreTimes struct{ backends, all time.Time }

// watchRestores polls Routes until stop is called; restored returns those that are entirely as
// before.
func (e *env) watchRestores(before map[string]*routev1.Route) (restored func() map[string]restoreTimes, stop func()) {
	var mu sync.Mutex
	since := map[string]restoreTimes{}
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
				trackSince(&at.backends, reflect.DeepEqual(record.WeightsOf(was), record.WeightsOf(r)))
				trackSince(&at.all, sessionFields(was) == sessionFields(r) && !hasOurManagedFields(r))
				since[r.Name] = at
			}
			mu.Unlock()
		}
	})
	return func() map[string]restoreTimes {
		mu.Lock()
		defer mu.Unlock()
		done := maps.Clone(since)
		maps.DeleteFunc(done, func(_ string, at restoreTimes) bool { return at.all.IsZero() })
		return done
	}, func() { cancel(); looking.Wait() }
}

// trackSince sets t to now if so has just become true, and to zero if so is false.
func trackSince(t *time.Time, so bool) {
	switch {
	case !so:
		*t = time.Time{}
	case t.IsZero():
		*t = time.Now()
	}
}

// addNetworkPolicy gives the original a NetworkPolicy, which sessions copy.
func (e *env) addNetworkPolicy() {
	e.t.Helper()
	_, err := core.NetworkingV1().NetworkPolicies(e.ns).Create(e.t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
	}, metav1.CreateOptions{})
	e.ok(err)
}

// countSessionObjects counts the pods, Services, PodDisruptionBudgets and NetworkPolicies of all
// sessions in the namespace.
func (e *env) countSessionObjects() int {
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

// sessionFields formats the parts of a Route that a session may change: spec, labels, annotations.
func sessionFields(r *routev1.Route) string {
	text, err := json.Marshal([]any{r.Spec, r.Labels, r.Annotations})
	if err != nil {
		return err.Error()
	}
	return string(text)
}
