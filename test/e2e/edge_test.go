//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// The numbers in these tests' names are those of docs/edge-cases.md.

// requestWithCookie sends one request, with a cookie unless it is nil. It returns the body, of which
// it reads up to 64 bytes, and the cookie that the response sets.
func (e *env) requestWithCookie(host, path string, cookie *http.Cookie) (body, set string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, "http://"+routerIP+path, nil)
	e.ok(err)
	req.Host = host
	if cookie != nil {
		req.AddCookie(cookie)
	}
	resp, err := (&http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err.Error(), ""
	}
	defer resp.Body.Close()
	text := make([]byte, 64)
	n, _ := resp.Body.Read(text)
	for _, c := range resp.Cookies() {
		set = c.Value
	}
	return string(text[:n]), set
}

// The Route has a backend that is named like a sandbox's Service but no other mark. shift refuses
// the Route, and rollback removes the backend.
func TestEdge03ASandboxIsAnAlternateAlready(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.snapshot()
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"alternateBackends":[{"kind":"Service","name":"osc-debug-bcdfghjk","weight":10}]}}`), metav1.PatchOptions{})
	e.ok(err)
	if r := e.shift("--weight", "10").wait(); r.code != 1 || !r.reports(reason.RouteInSession) || !r.mentions("bcdfghjk of an unknown user") {
		t.Error(r)
	}
	if r := e.cli("rollback", "--route", "shop", "--drain", "0s"); r.code != 4 {
		t.Error(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// A Route that a GitOps tool applies is refused; with --force the session runs, and the refusal
// becomes a warning.
func TestEdge09AGitOpsToolsRoute(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(func(r *routev1.Route) {
		r.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "shop:route.openshift.io/Route:shop/shop"}
	})
	if r := e.shift("--weight", "10").wait(); r.code != 1 || !r.reports(reason.ArgoCDAppliesRoute) || !r.mentions("ignoreDifferences") {
		t.Error(r)
	}
	if r := e.shift("--weight", "10", "--for", "1s", "--force").wait(); r.code != 0 || !r.reports(reason.ArgoCDAppliesRoute) || !r.mentions("--force: route "+e.ns+"/shop: ") {
		t.Error(r)
	}
}

// Clients with the original's cookie stay on the original even at weight 0. Clients with the
// sandbox's cookie return to the original when the session is over.
func TestEdge10CookiesBeatWeights(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	r := e.route(nil)
	host, name := r.Spec.Host, route.CookieName(r)
	var old string
	e.eventuallyPolled("the original's cookie", func() bool {
		var body string
		body, old = e.requestWithCookie(host, "/", nil)
		return body == "original" && old != ""
	})
	run := e.shift("--weight", "100", "--exact")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	for range 10 {
		if body, _ := e.requestWithCookie(host, "/", &http.Cookie{Name: name, Value: old}); body != "original" {
			t.Fatalf("a client with the original's cookie got %q", body)
		}
	}
	body, own := e.requestWithCookie(host, "/", nil)
	if body != "sandbox" || own == "" {
		t.Fatalf("a new client got %q, cookie %q", body, own)
	}
	run.signal(2)
	if r := run.wait(); r.code != 0 {
		t.Fatal(r)
	}
	for range 10 {
		if body, _ := e.requestWithCookie(host, "/", &http.Cookie{Name: name, Value: own}); body != "original" {
			t.Fatalf("after the session a client with the sandbox's cookie got %q", body)
		}
	}
}

// A session does not affect another Route with the same host and another path.
func TestEdge11SiblingsOnOneHost(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.deployment("b", 1, nil)
	r := e.route(func(r *routev1.Route) { r.Spec.Path = "/shop" })
	sibling := e.route(func(s *routev1.Route) {
		s.Name, s.Spec.Host, s.Spec.Path, s.Spec.To.Name = "sibling", r.Spec.Host, "/other", "b"
	})
	run := e.shift("--weight", "100", "--exact")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	for range 5 {
		if body, _ := e.requestWithCookie(r.Spec.Host, "/shop", nil); body != "sandbox" {
			t.Errorf("the Route answers %q", body)
		}
		if body, _ := e.requestWithCookie(r.Spec.Host, "/other", nil); body != "original" {
			t.Errorf("its sibling answers %q", body)
		}
	}
	run.signal(2)
	if r := run.wait(); r.code != 0 {
		t.Error(r)
	}
	if now := e.getRoute("sibling"); now.ResourceVersion != sibling.ResourceVersion {
		t.Error("the sibling Route was changed")
	}
}

// A second router that does not serve the Route causes a warning and does not stop the session.
func TestEdge12ARouterThatRejects(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	r := e.route(nil)
	e.addSecondRouter(r, corev1.ConditionFalse)
	if r := e.shift("--weight", "50", "--for", "1s").wait(); r.code != 0 || !r.reports(reason.RouterNotServing) || !r.mentions(" internal ", "(RouteNotAdmitted: not of its shard)") {
		t.Error(r)
	}
}

// Someone deletes the sandbox's Service while it has all the traffic. Users get 503 until the guard
// gives the traffic back, which it does at once.
func TestEdge05TheSandboxsServiceIsDeleted(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	id := e.detachedShift("--weight", "100")
	e.ok(core.CoreV1().Services(e.ns).Delete(t.Context(), record.ServiceName(id), metav1.DeleteOptions{}))
	e.eventually("the original has its traffic back", func() bool {
		r := e.shop()
		s := record.Of(r)
		return s == nil || s.State == record.Held && *r.Spec.To.Weight == 100
	})
	e.eventuallyPolled("users are served by the original", func() bool { return e.get(e.shop().Spec.Host) == "original" })
	if r := e.cli("weight", "50", "--router", routerIP); r.code != 1 || !r.reports(reason.NoReadySandboxPod) || !r.mentions(id) {
		t.Errorf("the session was resumed without a Service: %s", r)
	}
	e.expire()
	e.waitForEnd(before)
}

// A sandbox that is unready for less than the grace keeps its traffic if the original also serves
// users: one failed readiness probe does not end a session.
func TestEdge05ASandboxThatFlaps(t *testing.T) {
	t.Parallel()
	const grace = time.Minute
	e := newEnv(t)
	e.startGuard("only", e.prepareOwnGuard("grace="+grace.String()))
	before := e.createShop()
	e.eventually("the guard covers the namespace", e.hasGuard)
	id := e.detachedShift("--weight", "50")
	version := e.shop().ResourceVersion
	for unready := time.Duration(0); unready < grace+grace/3; { // in total longer than the grace
		since := time.Now()
		e.setReady(record.PodName(id, 0), false)
		e.waitForEndpoints(record.ServiceName(id), false)
		time.Sleep(grace / 12)
		e.setReady(record.PodName(id, 0), true)
		e.waitForEndpoints(record.ServiceName(id), true)
		once := time.Since(since)
		if unready += once; once > grace/2 {
			t.Fatalf("the sandbox was unready for %s at once; this machine is too slow for a grace of %s", once, grace)
		}
	}
	if r := e.shop(); record.Of(r) == nil || record.Of(r).State != record.Live || r.ResourceVersion != version {
		t.Errorf("the Route was changed: %+v", r.Spec)
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.waitForEnd(before)
}

// If two routers serve the Route, both are probed, or shift refuses and says what is missing.
func TestEdge12TwoRouters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	before := sessionFields(e.addSecondRouter(e.route(nil), corev1.ConditionTrue))
	if r := e.shift("--weight", "50", "--for", "1s").wait(); r.code != 1 || !r.reports(reason.RoutersNotProbed) || !r.mentions(": 2 ", "(default, internal)", " 1 ") {
		t.Error(r)
	}
	if now := sessionFields(e.shop()); now != before {
		t.Errorf("a refusal changed the Route: %s", now)
	}
	if r := e.shift("--weight", "50", "--for", "1s", "--router", routerIP+":80").wait(); r.code != 0 || strings.Count(r.errOut, "answers 200 through the router") != 2 {
		t.Errorf("wanted proofs through both routers: %s", r)
	}
	if r := e.shift("--weight", "50", "--for", "1s", "--force").wait(); r.code != 0 || !r.reports(reason.RoutersNotProbed) || !r.mentions("--force: route") {
		t.Error(r)
	}
}

// addSecondRouter writes the status of a second router, which serves the Route or not.
func (e *env) addSecondRouter(r *routev1.Route, serves corev1.ConditionStatus) *routev1.Route {
	e.t.Helper()
	r.Status.Ingress = append(r.Status.Ingress, routev1.RouteIngress{RouterName: "internal", Host: r.Spec.Host,
		Conditions: []routev1.RouteIngressCondition{{Type: routev1.RouteAdmitted, Status: serves, Reason: "RouteNotAdmitted", Message: "not of its shard"}}})
	r, err := routes.RouteV1().Routes(e.ns).UpdateStatus(e.t.Context(), r, metav1.UpdateOptions{})
	e.ok(err)
	return r
}
