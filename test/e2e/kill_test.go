//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// atATime bounds the commands that run at once.
const atATime = 10

// kill -9 of the command directly before and directly after every request that it makes:
// whatever was written, the guard puts the Route back and deletes the sandbox.
func TestKilledBeforeAndAfterEveryRequest(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	args := []string{"--router", routerIP, "--weight", "100", "--ttl", "4s", "--for", "500ms", "--timeout", "5s"}

	// The list of requests comes from a run to the end.
	e.route(func(r *routev1.Route) { r.Name, r.Spec.Host = "recorded", "recorded-"+r.Spec.Host })
	var mu sync.Mutex
	var requests []string
	config := e.proxied(func(r *http.Request, forward func()) {
		mu.Lock()
		requests = append(requests, r.Method+" "+r.URL.Path)
		mu.Unlock()
		forward()
	})
	if r := e.start(config, append([]string{"shift", "--route", "recorded"}, args...)...).wait(); r.code != 0 {
		t.Fatal(r)
	}
	if list := strings.Join(requests, " "); strings.Count(list, "PATCH ") != 4 || !strings.Contains(list, "POST /api/v1/namespaces/"+e.ns+"/pods") {
		t.Fatalf("the list has not the four patches and the pod: %v", requests)
	}
	t.Logf("%d requests, each killed before and after", len(requests))

	type kill struct {
		n     int
		after bool
	}
	before := map[string]string{}
	cases := map[string]kill{}
	for n := range requests {
		for _, after := range []bool{false, true} {
			name := fmt.Sprintf("shop-%d-%v", n, after)
			r := e.route(func(r *routev1.Route) { r.Name, r.Spec.Host = name, name+"-"+r.Spec.Host })
			before[name], cases[name] = looks(r), kill{n, after}
		}
	}
	var running sync.WaitGroup
	free := make(chan struct{}, atATime)
	for name, k := range cases {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			e.killAt(name, k.n, k.after, args)
		})
	}
	running.Wait()

	// Arming ends a minute after --timeout, draining gets a minute, live 4 s.
	for end := time.Now().Add(150 * time.Second); len(before) > 0 && time.Now().Before(end); time.Sleep(time.Second) {
		list, err := routes.RouteV1().Routes(e.ns).List(t.Context(), metav1.ListOptions{})
		e.ok(err)
		for i := range list.Items {
			r := &list.Items[i]
			if before[r.Name] == looks(r) && !strings.Contains(fmt.Sprint(r.ManagedFields), session.FieldManager) {
				delete(before, r.Name)
			}
		}
	}
	for name := range before {
		k := cases[name]
		t.Errorf("killed at request %d (%s), after it %v: route %s is not as before", k.n, requests[k.n], k.after, name)
	}
	e.eventually("no sandbox is left", func() bool {
		pods, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: session.Label})
		e.ok(err)
		services, err := core.CoreV1().Services(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: session.Label})
		e.ok(err)
		return len(pods.Items)+len(services.Items) == 0
	})
}

// looks is what a session may change of a Route.
func looks(r *routev1.Route) string {
	text, err := json.Marshal([]any{r.Spec, r.Labels, r.Annotations})
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// killAt runs a session on a Route and kills its command at its n-th request.
func (e *env) killAt(route string, n int, after bool, args []string) {
	var count atomic.Int64
	started := make(chan *running, 1)
	config := e.proxied(func(r *http.Request, forward func()) {
		if count.Add(1) != int64(n+1) {
			forward()
			return
		}
		kill := func() {
			run := <-started
			_ = run.cmd.Process.Kill()
			<-run.done
		}
		switch {
		case !after:
			kill()
		case r.URL.Query().Get("watch") != "": // its answer does not end by itself
			time.AfterFunc(200*time.Millisecond, kill)
			forward()
		default:
			forward()
			kill()
		}
	})
	run := e.start(config, append([]string{"shift", "--route", route}, args...)...)
	started <- run
	run.wait()
}
