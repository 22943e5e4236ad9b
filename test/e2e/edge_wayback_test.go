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

// Two changes within one reload of the router: the second one holds in the end.
func TestEdge14TwoChangesWithinAReload(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	e.detached("--weight", "20")
	for _, w := range []string{"80", "60"} {
		if r := e.cli("weight", w, "--router", routerIP); r.code != 0 {
			t.Fatal(r)
		}
	}
	e.answers("60 % in HAProxy", func() bool {
		servers, err := haproxy.Servers(state, e.ns, "shop")
		share := 100 * haproxy.Share(servers, "osc-debug-")
		return err == nil && share > 59.5 && share < 60.5
	})
	if r := e.cli("rollback", "--route", "shop"); r.code != 0 {
		t.Error(r)
	}
}

// autoscaledShift begins a session that has all traffic of an original of three pods, which an
// autoscaler may shrink.
func (e *env) autoscaledShift(user string) (before string, run *running) {
	e.t.Helper()
	e.deployment("web", 3, nil)
	e.route(nil)
	e.autoscaler("web")
	before = e.tested()
	run = e.start(user, "shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard", "--weight", "100", "--exact")
	if !run.reaches("live") {
		e.t.Fatal(run.wait())
	}
	return before, run
}

// heardOf counts what a watch tells its client.
type heardOf struct {
	http.ResponseWriter
	count *atomic.Int64
}

func (h *heardOf) Write(p []byte) (int, error) {
	n, err := h.ResponseWriter.Write(p)
	h.count.Add(1)
	return n, err
}

// Unwrap lets http.ResponseController flush.
func (h *heardOf) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// An autoscaler that shrank the original meanwhile: the way back is taken in steps, until
// the original has its pods again.
func TestEdge15AnAutoscaledOriginalGetsItsTrafficBackSlowly(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var heard atomic.Int64
	alice := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if watching(r) && strings.HasSuffix(r.URL.Path, "/endpointslices") {
			w = &heardOf{w, &heard}
		}
		forward(w, r)
	})
	before, run := e.autoscaledShift(alice)
	known := heard.Load()
	e.scale("web", 1)
	e.answers("the command hears of it too", func() bool { return heard.Load() > known })
	time.Sleep(time.Second) // and has read what it heard
	run.signal(2)
	e.eventually("the first step back", func() bool { return strings.Contains(run.progress.String(), "  ramp ") })
	e.scale("web", 3)
	r := run.wait()
	if r.code != 0 || !r.because(reason.AutoscalerMayShrink) || !r.names("HorizontalPodAutoscaler web ") || !strings.Contains(r.errOut, "66.67 % of new clients: deployment/web has ") || !strings.Contains(r.errOut, " of 3 servers") {
		t.Error(r)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// 'rollback' of a session that nobody attends does the same, but not where it is to be now.
func TestEdge15ARollbackGivesAnAutoscaledOriginalItsTrafficBackSlowly(t *testing.T) {
	t.Parallel()
	for args, slowly := range map[string]bool{"": true, "--now": false} {
		t.Run("rollback "+args, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			e.deployment("web", 3, nil)
			e.route(nil)
			e.autoscaler("web")
			before := e.tested()
			e.detached("--weight", "100")
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
			atOnce := r.because(reason.OriginalMayBeShrunk)
			if r.code != 0 || step != slowly || atOnce == slowly {
				t.Error(r)
			}
			e.ended(before)
		})
	}
}

// A sandbox that is dead serves nobody: all traffic comes back at once.
func TestEdge15ARollbackFromADeadSandboxIsNotSlow(t *testing.T) {
	t.Parallel()
	e := newEnv(t) // no guard takes the traffic first
	before, run := e.autoscaledShift("alice")
	run.signal(9)
	run.wait()
	id := record.Of(e.shop()).ID
	for n := range 2 { // as many as three pods' work takes
		e.ready(record.PodName(id, n), false)
	}
	e.endpoints(record.ServiceName(id), false)
	e.scale("web", 1)
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 || strings.Contains(r.errOut, "  ramp ") {
		t.Error(r)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()
}

// autoscaler lets one scale the Deployment from 1 to 5; nobody plays its controller.
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

// A request that the sandbox answers slowly is under way when the session ends: the drain
// lets it finish.
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
		body, _ := e.ask(host, "/slow", nil)
		answer <- body
	}()
	e.answers("the request is under way", func() bool { return slow.of(host) == 1 })
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

// A tunnel, as WebSockets make, to the sandbox: the router's reloads and the way back leave
// it open. It ends with the pod that it goes to, which shift tells of.
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
	e.answers("new clients at the original", func() bool { return e.get(host) == "original" })
	echoes("after the way back")
}

// On the way back the Route comes first, then the pods, then the Service, then the last mark.
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
		t.Errorf("writes in the order %s", got)
	}
}
