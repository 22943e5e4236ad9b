//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/route/probe"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// dynamicRouter is the address of a router with the dynamic configuration manager. Its HAProxy is 3.0, and the
// static router's is older.
type dynamicRouter string

var nextRouter atomic.Int32

// haproxy30 returns the path of HAProxy 3.0.
var haproxy30 = sync.OnceValues(func() (string, error) {
	out, err := exec.Command(filepath.Join(filepath.Dir(binary), "devcluster"), "haproxy").Output()
	return strings.TrimSpace(string(out)), err
})

// startDynamicRouter starts a second router, with the dynamic configuration manager, for the Routes of the
// namespace.
func (e *env) startDynamicRouter() dynamicRouter {
	e.t.Helper()
	haproxy, err := haproxy30()
	e.ok(err)
	at := fmt.Sprintf("127.87.0.%d", 10+nextRouter.Add(1))
	run := e.startProcess(exec.Command(filepath.Join(filepath.Dir(binary), "devcluster"), "router", "--name", "dynamic", "--dynamic",
		"--namespace", e.ns, "--haproxy", haproxy, "--address", at, "--dir", filepath.Join(e.t.TempDir(), "router"),
		"--kubeconfig", kubeconfig("admin"), "--certificate", filepath.Join(state, "pki", "router.crt"), "--key", filepath.Join(state, "pki", "router.key"),
		"--reload-interval", "1s"))
	e.t.Cleanup(func() {
		run.signal(syscall.SIGTERM) // it ends its HAProxy
		<-run.done
	})
	return dynamicRouter(at)
}

// serves waits until the router has admitted a Route and answers for it.
func (d dynamicRouter) serves(e *env, r *routev1.Route) {
	e.t.Helper()
	e.eventuallyPolled("the dynamic router serves route "+r.Name, func() bool {
		body, err := d.get(r)
		return err == nil && body == "original"
	})
}

// get sends a new client's request for a Route.
func (d dynamicRouter) get(r *routev1.Route) (string, error) {
	scheme, port := "http", "80"
	if r.Spec.TLS != nil {
		scheme, port = "https", "443"
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{ServerName: r.Spec.Host, InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(string(d), port))
		}}}
	resp, err := client.Get(scheme + "://" + r.Spec.Host + r.Spec.Path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// share returns the sandbox's percentage of new clients.
func (d dynamicRouter) share(e *env, r *routev1.Route) float64 {
	e.t.Helper()
	const requests = 100
	sandbox := 0
	for range requests {
		body, err := d.get(r)
		e.ok(err)
		if body == "sandbox" {
			sandbox++
		}
	}
	return float64(sandbox) * 100 / requests
}

// journal returns the journal on a Route, an empty one if there is none.
func (e *env) journal(name string) record.Journal {
	e.t.Helper()
	if s := record.Of(e.getRoute(name)); s != nil && s.Journal != nil {
		return *s.Journal
	}
	return record.Journal{}
}

// The router with the dynamic configuration manager gives new servers new weights without a reload, and the others
// keep theirs. The guard makes it reload then, so that the sandbox has its share again.
func TestTheGuardKeepsTheShareAtADynamicRouter(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.createShop()
	router := e.startDynamicRouter()
	router.serves(e, e.shop())
	before := e.snapshot()
	e.detachedShift("--router", string(router), "--weight", "20")
	e.checkShareIsKept(router)
	if r := e.cli("rollback", "shop", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.scale("web", 1)
	e.waitForEnd(before)
}

// Without a guard, the command makes the router reload.
func TestTheCommandKeepsTheShareAtADynamicRouter(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.createShop()
	router := e.startDynamicRouter()
	router.serves(e, e.shop())
	before := e.snapshot()
	run := e.guardedShift("--router", string(router), "--weight", "20", "--no-guard", "--drain", "1s")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	e.checkShareIsKept(router)
	run.signal(syscall.SIGINT)
	if r := run.wait(); r.code != 0 {
		t.Error(r)
	}
	e.scale("web", 1)
	e.waitForEnd(before)
}

// checkShareIsKept scales the original under a session of 20 percent, and checks that the Route is touched and the
// share is as asked again.
func (e *env) checkShareIsKept(router dynamicRouter) {
	e.t.Helper()
	if j := e.journal("shop"); !j.Dynamic || len(j.Served) != 12 || !j.Touched.IsZero() {
		e.t.Errorf("the journal does not know of the dynamic router: %+v", j)
	}
	isAsked := func() bool { share := router.share(e, e.shop()); return share >= 18 && share <= 22 }
	e.eventuallyPolled("the share is as asked", isAsked)
	was := e.journal("shop").Served
	e.scale("web", 4)
	e.eventuallyPolled("the Route was touched", func() bool { j := e.journal("shop"); return !j.Touched.IsZero() && j.Served != was })
	e.eventuallyPolled("the share is as asked again", isAsked)
}

// A session proves its sandbox at a static and at a dynamic router, each with its own HAProxy and its own
// cookies, whatever the Route is like.
func TestProofAtTwoRouters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	router := e.startDynamicRouter()
	for name, change := range map[string]func(*routev1.Route){
		"plain": func(*routev1.Route) {},
		"renamed": func(r *routev1.Route) {
			r.Annotations = map[string]string{"router.openshift.io/cookie_name": "mine"}
		},
		"edge": func(r *routev1.Route) { r.Spec.TLS = &routev1.TLSConfig{Termination: routev1.TLSTerminationEdge} },
		"path": func(r *routev1.Route) { r.Spec.Path = "/shop" },
	} {
		r := e.route(func(r *routev1.Route) {
			r.Name, r.Spec.Host = name, name+"-"+r.Spec.Host
			change(r)
		})
		t.Run(name, func(t *testing.T) {
			router.serves(e, r)
			run := e.start("alice", "shift", name, "--router", routerIP, "--router", string(router), "--weight", "50", "--no-guard", "--drain", "1s")
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			if j := e.journal(name); !j.Dynamic {
				t.Errorf("the journal does not know of the dynamic router: %+v", j)
			}
			run.signal(syscall.SIGINT)
			if r := run.wait(); r.code != 0 || strings.Count(r.errOut, "answers 200 through the router") != 2 {
				t.Errorf("wanted the sandbox proven at two routers: %s", r)
			}
		})
	}
}

// HAProxy's own cookie of a server with an IPv6 address is the one that requests are pinned by, also at weight 0.
// The local cluster has IPv4 only, so this test runs HAProxy alone.
func TestTheDynamicCookieOfAnIPv6Server(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	haproxy, err := haproxy30()
	e.ok(err)
	r := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: routev1.RouteSpec{Host: "web.example.com"}}
	var servers []string
	var endpoints []route.Endpoint
	for n, weight := range []int{1, 0} {
		listener, err := net.Listen("tcp", "[::1]:0")
		e.ok(err)
		server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n) })}
		go server.Serve(listener) // until Close
		t.Cleanup(func() { server.Close() })
		port := listener.Addr().(*net.TCPAddr).Port
		servers = append(servers, fmt.Sprintf("  server s%d [::1]:%d weight %d", n, port, weight))
		endpoints = append(endpoints, route.Endpoint{Service: "web", IP: "::1", Port: int32(port)})
	}
	address, config := "127.87.1.1:8080", filepath.Join(t.TempDir(), "haproxy.cfg")
	e.ok(os.WriteFile(config, fmt.Appendf(nil, `defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend public
  bind %s
  default_backend web
backend web
  balance roundrobin
  cookie %[2]s insert indirect nocache httponly dynamic
  dynamic-cookie-key %[2]s
%[3]s
`, address, route.CookieName(r), strings.Join(servers, "\n")), 0o600))
	e.startProcess(exec.Command(haproxy, "-db", "-f", config))
	p := probe.New(r, r.Spec.Host, address)
	var plain probe.Answer
	e.eventuallyPolled("HAProxy answers", func() bool { plain, err = p.Plain(t.Context()); return err == nil && plain.Status == http.StatusOK })
	if want, _ := endpoints[0].DynamicCookie(r); plain.Cookie != want {
		t.Errorf("HAProxy's cookie is %q, computed %q", plain.Cookie, want)
	}
	for n, endpoint := range endpoints {
		answer, reached, err := p.Pinned(t.Context(), endpoint)
		if err != nil || !reached || answer.Body != fmt.Sprint(n) || !p.KnowsDynamic(t.Context(), endpoint) {
			t.Errorf("server %d: %+v, reached %t, %v", n, answer, reached, err)
		}
	}
}
