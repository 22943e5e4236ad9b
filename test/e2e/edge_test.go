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

// ask sends one request with a cookie, if any, and returns body and the cookie that was set.
func (e *env) ask(host, path string, cookie *http.Cookie) (body, set string) {
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

// A backend named like a sandbox stands on the Route without any other mark: it is told,
// and rollback removes it.
func TestEdge03ASandboxIsAnAlternateAlready(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.tested()
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"alternateBackends":[{"kind":"Service","name":"osc-debug-bcdfghjk","weight":10}]}}`), metav1.PatchOptions{})
	e.ok(err)
	if r := e.shift("--weight", "10").wait(); r.code != 1 || !r.because(reason.RouteInSession) || !r.names("bcdfghjk of somebody") {
		t.Error(r)
	}
	if r := e.cli("rollback", "--route", "shop", "--drain", "0s"); r.code != 4 {
		t.Error(r)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// A Route that a GitOps tool applies is refused; with --force the session is held, and the
// refusal has become a warning.
func TestEdge09AGitOpsToolsRoute(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(func(r *routev1.Route) {
		r.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "shop:route.openshift.io/Route:shop/shop"}
	})
	if r := e.shift("--weight", "10").wait(); r.code != 1 || !r.because(reason.ArgoCDAppliesRoute) || !r.names("ignoreDifferences") {
		t.Error(r)
	}
	if r := e.shift("--weight", "10", "--for", "1s", "--force").wait(); r.code != 0 || !r.because(reason.ArgoCDAppliesRoute) || !r.names("--force: route "+e.ns+"/shop: ") {
		t.Error(r)
	}
}

// Clients with the original's cookie stay with it at weight 0; clients with the sandbox'
// cookie are the original's again once the session is over.
func TestEdge10CookiesBeatWeights(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	r := e.route(nil)
	host, name := r.Spec.Host, route.CookieName(r)
	var old string
	e.answers("the original's cookie", func() bool {
		var body string
		body, old = e.ask(host, "/", nil)
		return body == "original" && old != ""
	})
	run := e.shift("--weight", "100", "--exact")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	for range 10 {
		if body, _ := e.ask(host, "/", &http.Cookie{Name: name, Value: old}); body != "original" {
			t.Fatalf("a client with the original's cookie got %q", body)
		}
	}
	body, own := e.ask(host, "/", nil)
	if body != "sandbox" || own == "" {
		t.Fatalf("a new client got %q, cookie %q", body, own)
	}
	run.signal(2)
	if r := run.wait(); r.code != 0 {
		t.Fatal(r)
	}
	for range 10 {
		if body, _ := e.ask(host, "/", &http.Cookie{Name: name, Value: own}); body != "original" {
			t.Fatalf("after the session a client with the sandbox' cookie got %q", body)
		}
	}
}

// Another Route of the same host, with another path, sees nothing of a session.
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
		if body, _ := e.ask(r.Spec.Host, "/shop", nil); body != "sandbox" {
			t.Errorf("the Route answers %q", body)
		}
		if body, _ := e.ask(r.Spec.Host, "/other", nil); body != "original" {
			t.Errorf("its sibling answers %q", body)
		}
	}
	run.signal(2)
	if r := run.wait(); r.code != 0 {
		t.Error(r)
	}
	if now := e.routeNamed("sibling"); now.ResourceVersion != sibling.ResourceVersion {
		t.Error("the sibling was written")
	}
}

// Two routers, one of which does not serve the Route: told, and no obstacle.
func TestEdge12ARouterThatRejects(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	r := e.route(nil)
	e.second(r, corev1.ConditionFalse)
	if r := e.shift("--weight", "50", "--for", "1s").wait(); r.code != 0 || !r.because(reason.RouterNotServing) || !r.names(" internal ", "(RouteNotAdmitted: not of its shard)") {
		t.Error(r)
	}
}

// Somebody deletes the sandbox' Service while all traffic goes there: that is 503 for
// everybody, until the guard gives the traffic back, at once.
func TestEdge05TheSandboxsServiceIsDeleted(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	id := e.detached("--weight", "100")
	e.ok(core.CoreV1().Services(e.ns).Delete(t.Context(), record.ServiceName(id), metav1.DeleteOptions{}))
	e.eventually("the traffic is back", func() bool {
		r := e.shop()
		s := record.Of(r)
		return s == nil || s.State == record.Held && *r.Spec.To.Weight == 100
	})
	e.answers("users are served", func() bool { return e.get(e.shop().Spec.Host) == "original" })
	if r := e.cli("weight", "50", "--router", routerIP); r.code != 1 || !r.because(reason.NoReadySandboxPod) || !r.names(id) {
		t.Errorf("resumed without a Service: %s", r)
	}
	e.over()
	e.ended(before)
}

// A sandbox that is unready for less than the grace, beside an original that serves, keeps its
// traffic: a readiness probe that fails once ends no session.
func TestEdge05ASandboxThatFlaps(t *testing.T) {
	t.Parallel()
	const grace = 15 * time.Second
	e := newEnv(t)
	e.guard("only", e.ownGuards("grace="+grace.String()))
	before := e.standard()
	e.eventually("the guard covers the namespace", e.standsBy)
	id := e.detached("--weight", "50")
	version := e.shop().ResourceVersion
	for unready := time.Duration(0); unready < grace+grace/3; { // together longer than the grace
		since := time.Now()
		e.ready(record.PodName(id, 0), false)
		e.endpoints(record.ServiceName(id), false)
		time.Sleep(time.Second)
		e.ready(record.PodName(id, 0), true)
		e.endpoints(record.ServiceName(id), true)
		once := time.Since(since)
		if unready += once; once > grace/2 {
			t.Fatalf("one flap took %s on this machine: too near to the grace of %s", once, grace)
		}
	}
	if r := e.shop(); record.Of(r) == nil || record.Of(r).State != record.Live || r.ResourceVersion != version {
		t.Errorf("somebody wrote the Route: %+v", r.Spec)
	}
	if r := e.cli("rollback", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.ended(before)
}

// Two routers serve the Route: both are proven, or the user is told what is missing.
func TestEdge12TwoRouters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	before := looks(e.second(e.route(nil), corev1.ConditionTrue))
	if r := e.shift("--weight", "50", "--for", "1s").wait(); r.code != 1 || !r.because(reason.RoutersNotProbed) || !r.names(": 2 ", "(default, internal)", " 1 ") {
		t.Error(r)
	}
	if now := looks(e.shop()); now != before {
		t.Errorf("a refusal changed the Route: %s", now)
	}
	if r := e.shift("--weight", "50", "--for", "1s", "--router", routerIP+":80").wait(); r.code != 0 || strings.Count(r.errOut, "answers 200 through the router") != 2 {
		t.Errorf("both routers are to be proven: %s", r)
	}
	if r := e.shift("--weight", "50", "--for", "1s", "--force").wait(); r.code != 0 || !r.because(reason.RoutersNotProbed) || !r.names("--force: route") {
		t.Error(r)
	}
}

// second has another router tell whether it serves the Route.
func (e *env) second(r *routev1.Route, serves corev1.ConditionStatus) *routev1.Route {
	e.t.Helper()
	r.Status.Ingress = append(r.Status.Ingress, routev1.RouteIngress{RouterName: "internal", Host: r.Spec.Host,
		Conditions: []routev1.RouteIngressCondition{{Type: routev1.RouteAdmitted, Status: serves, Reason: "RouteNotAdmitted", Message: "not of its shard"}}})
	r, err := routes.RouteV1().Routes(e.ns).UpdateStatus(e.t.Context(), r, metav1.UpdateOptions{})
	e.ok(err)
	return r
}
