//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/test/haproxy"
)

// Of two changes within one reload of the router, the second one takes effect in the end.
func TestEdge14TwoChangesWithinAReload(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	e.detachedShift("--weight", "20")
	for _, w := range []string{"80", "60"} {
		if r := e.cli("weight", w, "--router", routerIP); r.code != 0 {
			t.Fatal(r)
		}
	}
	e.eventuallyPolled("60 % in HAProxy", func() bool {
		servers, err := haproxy.Servers(state, e.ns, "shop")
		share := 100 * haproxy.Share(servers, "osc-debug-")
		return err == nil && share > 59.5 && share < 60.5
	})
	if r := e.cli("rollback", "--route", "shop"); r.code != 0 {
		t.Error(r)
	}
}

// autoscaledShift starts a session with all the traffic of an original of three pods, which an
// autoscaler may scale down.
func (e *env) autoscaledShift(user string) (before string, run *running) {
	e.t.Helper()
	e.deployment("web", 3, nil)
	e.route(nil)
	e.autoscaler("web")
	before = e.snapshot()
	run = e.start(user, "shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard", "--weight", "100", "--exact")
	if !run.reaches("live") {
		e.t.Fatal(run.wait())
	}
	return before, run
}

// countingWriter counts the events of a watch.
type countingWriter struct {
	http.ResponseWriter
	count *atomic.Int64
}

func (h *countingWriter) Write(p []byte) (int, error) {
	n, err := h.ResponseWriter.Write(p)
	h.count.Add(1)
	return n, err
}

// Unwrap gives http.ResponseController access to Flush.
func (h *countingWriter) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// If an autoscaler scaled the original down during the session, traffic goes back in steps until the
// original has all its pods again.
func TestEdge15AnAutoscaledOriginalGetsItsTrafficBackSlowly(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var heard atomic.Int64
	alice := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if isWatch(r) && strings.HasSuffix(r.URL.Path, "/endpointslices") {
			w = &countingWriter{w, &heard}
		}
		forward(w, r)
	})
	before, run := e.autoscaledShift(alice)
	known := heard.Load()
	e.scale("web", 1)
	e.eventuallyPolled("the command gets an event about it", func() bool { return heard.Load() > known })
	time.Sleep(time.Second) // until it has processed the event
	run.signal(2)
	e.eventually("the first step back", func() bool { return strings.Contains(run.progress.String(), "  ramp ") })
	e.scale("web", 3)
	r := run.wait()
	if r.code != 0 || !r.reports(reason.AutoscalerMayShrink) || !r.mentions("HorizontalPodAutoscaler web ") || !strings.Contains(r.errOut, "66.67 % of new clients: deployment/web has ") || !strings.Contains(r.errOut, " of 3 servers") {
		t.Error(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// 'rollback' of a detached session also takes these steps, 'rollback --now' does not.
func TestEdge15ARollbackGivesAnAutoscaledOriginalItsTrafficBackSlowly(t *testing.T) {
	t.Parallel()
	for args, slowly := range map[string]bool{"": true, "--now": false} {
		t.Run("rollback "+args, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			e.deployment("web", 3, nil)
			e.route(nil)
			e.autoscaler("web")
			before := e.snapshot()
			e.detachedShift("--weight", "100")
			e.scale("web", 1)
			run := e.start("alice", append([]string{"rollback", "--route", "shop"}, strings.Fields(args)...)...)
			if slowly {
				e.eventually("the first step back", func() bool {
					s := record.Of(e.shop())
					return s != nil && s.State == record.Live && s.Journal.Realised < 67
				})
				e.scale("web", 3)
			}
			r := run.wait()
			step := strings.Contains(r.errOut, "66.67 % of new clients: deployment/web has 1 of 3 servers")
			atOnce := r.reports(reason.OriginalMayBeShrunk)
			if r.code != 0 || step != slowly || atOnce == slowly {
				t.Error(r)
			}
			e.waitForEnd(before)
		})
	}
}

// If the sandbox is dead, all traffic goes back at once.
func TestEdge15ARollbackFromADeadSandboxIsNotSlow(t *testing.T) {
	t.Parallel()
	e := newEnv(t) // without a guard, which would take the traffic back first
	before, run := e.autoscaledShift("alice")
	run.signal(9)
	run.wait()
	id := record.Of(e.shop()).ID
	for n := range 2 { // the session has two sandbox pods for the load of three pods
		e.setReady(record.PodName(id, n), false)
	}
	e.waitForEndpoints(record.ServiceName(id), false)
	e.scale("web", 1)
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 || strings.Contains(r.errOut, "  ramp ") {
		t.Error(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// autoscaler creates a HorizontalPodAutoscaler for 1 to 5 pods of a Deployment; no controller acts
// on it.
func (e *env) autoscaler(deployment string) {
	e.t.Helper()
	one := int32(1)
	_, err := core.AutoscalingV2().HorizontalPodAutoscalers(e.ns).Create(e.t.Context(), &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: deployment},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: deployment}, MinReplicas: &one, MaxReplicas: 5}}, metav1.CreateOptions{})
	e.ok(err)
}

func (e *env) scale(deployment string, replicas int) {
	e.t.Helper()
	_, err := core.AppsV1().Deployments(e.ns).Patch(e.t.Context(), deployment, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas), metav1.PatchOptions{})
	e.ok(err)
	e.eventually(fmt.Sprintf("%d endpoints of %s", replicas, deployment), func() bool {
		list, err := core.DiscoveryV1().EndpointSlices(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + deployment})
		e.ok(err)
		n := 0
		for _, s := range list.Items {
			for _, endpoint := range s.Endpoints {
				if ready := endpoint.Conditions.Ready; ready == nil || *ready {
					n++
				}
			}
		}
		return n == replicas
	})
}

// A slow request to the sandbox is under way when the session ends; the drain lets it finish.
func TestEdge16ALongRequestDuringTheRollback(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	host := e.route(nil).Spec.Host
	run := e.shift("--weight", "100", "--exact", "--drain", "8s")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	answer := make(chan string, 1)
	go func() {
		body, _ := e.requestWithCookie(host, "/slow", nil)
		answer <- body
	}()
	e.eventuallyPolled("the request is under way", func() bool { return slowRequests.count(host) == 1 })
	run.signal(2)
	if r := run.wait(); r.code != 0 {
		t.Error(r)
	}
	select {
	case body := <-answer:
		if body != "sandbox" {
			t.Errorf("the slow request got %q", body)
		}
	default:
		t.Error("the session's end did not wait for the slow request")
	}
}

// A tunnel to the sandbox, as WebSockets use it, stays open during the router's reloads and while
// traffic goes back. It ends with its pod, and shift warns about it.
func TestEdge16ATunnelOutlivesTheWayBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	host := e.route(nil).Spec.Host
	run := e.shift("--weight", "100", "--exact")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	conn, err := net.DialTimeout("tcp", routerIP+":80", 5*time.Second)
	e.ok(err)
	defer conn.Close()
	e.ok(conn.SetDeadline(time.Now().Add(hang)))
	fmt.Fprintf(conn, "GET /tunnel HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host) // RFC 6455, 1.3
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	e.ok(err)
	if answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no tunnel: %s", answer.Status)
	}
	echoes := func(text string) {
		t.Helper()
		fmt.Fprintln(conn, text)
		if got, err := in.ReadString('\n'); err != nil || got != text+"\n" {
			t.Errorf("sent %q, got %q, %v", text, got, err)
		}
	}
	echoes("while live")
	run.signal(2)
	if !run.reaches("drain") {
		t.Fatal(run.wait())
	}
	echoes("while draining")
	if r := run.wait(); r.code != 0 {
		t.Error(r)
	}
	e.eventuallyPolled("new clients reach the original", func() bool { return e.get(host) == "original" })
	echoes("after the way back")
}

// A session's end first restores the Route, then deletes the pods, then the Service, and last removes
// the session's mark from the Route.
func TestEdge18TheOrderOfTheWayBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	log := &requestLog{}
	if r := e.start(e.proxied("alice", log.handle), "shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard", "--weight", "50", "--for", "1s").wait(); r.code != 0 {
		t.Fatal(r)
	}
	var order []string
	for _, r := range log.all() {
		switch {
		case strings.HasPrefix(r, "PATCH /apis/route"):
			order = append(order, "route")
		case strings.HasPrefix(r, "DELETE /api/v1/namespaces/…/services"):
			order = append(order, "service")
		case strings.HasPrefix(r, "DELETE /api/v1/namespaces/…/pods"):
			order = append(order, "pod")
		}
	}
	if got := strings.Join(order, " "); !strings.HasSuffix(got, "route pod service route") {
		t.Errorf("order of the writes: %s", got)
	}
}
