//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// atATime bounds the processes of a test that run at once.
const atATime = 8

// kill -9 of the command directly before and directly after every request that it makes:
// whatever was written, the guard puts the Route back and deletes the sandbox.
func TestKilledBeforeAndAfterEveryRequest(t *testing.T) {
	for verb, c := range map[string]struct {
		from  session.State // that the Route's session is in, "" for no session
		args  []string
		needs []string // requests that the list must have
	}{
		"shift": {"", []string{"--router", routerIP, "--weight", "100", "--ttl", "4s", "--for", "500ms", "--timeout", "5s"},
			[]string{"POST /api/v1/namespaces/…/pods", "PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…"}},
		"weight":   {session.Held, []string{"50", "--router", routerIP}, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…"}},
		"extend":   {session.Live, []string{"3s"}, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…"}},
		"rollback": {session.Live, []string{"--drain", "500ms"}, []string{"PATCH /apis/route.openshift.io/v1/namespaces/…/routes/…", "DELETE /api/v1/namespaces/…/pods/osc-debug-…-0"}},
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			e.deployment("web", 1, nil)
			run := func(name, config string) *running {
				if c.from != "" {
					e.plant(name, c.from, 12*time.Second)
				}
				return e.start(config, append([]string{verb, "--route", name}, c.args...)...)
			}
			requests := e.record(run, c.needs)
			e.killEverywhere(points(requests), atATime, run)
		})
	}
}

// record lists the requests that a command makes when nothing disturbs it.
func (e *env) record(run func(route, config string) *running, needs []string) []string {
	e.t.Helper()
	e.namedRoute("recorded")
	log := &requestLog{}
	config := e.proxied("alice", log.handle)
	if r := run("recorded", config).wait(); r.code != 0 {
		e.t.Fatal(r)
	}
	requests := log.all()
	for _, need := range needs {
		if !strings.Contains(strings.Join(requests, "\n"), need) {
			e.t.Fatalf("the list has no %s:\n%s", need, strings.Join(requests, "\n"))
		}
	}
	e.t.Logf("%d requests, each killed before and after", len(requests))
	return requests
}

func (e *env) namedRoute(name string) *routev1.Route {
	e.t.Helper()
	return e.route(func(r *routev1.Route) { r.Name, r.Spec.Host = name, name+"-"+r.Spec.Host })
}

// killEverywhere kills a command at each point, on a Route of its own each, some at a
// time, and waits until the guard has ended all of that.
func (e *env) killEverywhere(at []point, atATime int, run func(route, config string) *running) {
	e.t.Helper()
	before, cases := map[string]string{}, map[string]point{}
	for n, p := range at {
		name := fmt.Sprintf("shop-%d", n)
		before[name], cases[name] = looks(e.namedRoute(name)), p
	}
	var running sync.WaitGroup
	var missed sync.Map
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

	// Arming ends a minute and a half after --timeout, draining gets a minute, live and held
	// end at their time.
	for end := time.Now().Add(4 * time.Minute); len(before) > 0 && time.Now().Before(end); time.Sleep(time.Second) {
		list, err := routes.RouteV1().Routes(e.ns).List(e.t.Context(), metav1.ListOptions{})
		e.ok(err)
		for i := range list.Items {
			r := &list.Items[i]
			if before[r.Name] == looks(r) && !strings.Contains(fmt.Sprint(r.ManagedFields), session.FieldManager) {
				delete(before, r.Name)
			}
		}
	}
	for name := range before {
		e.t.Errorf("killed %s: route %s is not as before", cases[name], name)
	}
	e.eventually("no sandbox is left", func() bool { return e.sandboxes() == 0 })
}

// sandboxes counts the objects of sessions.
func (e *env) sandboxes() int {
	e.t.Helper()
	of := metav1.ListOptions{LabelSelector: session.Label}
	pods, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), of)
	e.ok(err)
	services, err := core.CoreV1().Services(e.ns).List(e.t.Context(), of)
	e.ok(err)
	budgets, err := core.PolicyV1().PodDisruptionBudgets(e.ns).List(e.t.Context(), of)
	e.ok(err)
	return len(pods.Items) + len(services.Items) + len(budgets.Items)
}

// looks is what a session may change of a Route.
func looks(r *routev1.Route) string {
	text, err := json.Marshal([]any{r.Spec, r.Labels, r.Annotations})
	if err != nil {
		return err.Error()
	}
	return string(text)
}
