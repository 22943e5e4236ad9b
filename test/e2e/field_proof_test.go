//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// A Job's pod carries the Service's labels and is first by name. It has no port http, so it is no endpoint.
func TestField01AJobBehindTheService(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "cleanup"}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "cleanup", Image: fakeImage}}},
	}}}
	onFakeNode(&job.Spec.Template.Spec)
	_, err := core.BatchV1().Jobs(e.ns).Create(t.Context(), job, metav1.CreateOptions{})
	e.ok(err)
	e.ready("job-name=cleanup", 1)
	e.deployment("web", 2, nil)
	e.route(func(r *routev1.Route) { r.Spec.Port.TargetPort = intstr.FromString("http") })
	for _, args := range [][]string{nil, {"--workload", "deployment/web"}} {
		if r, _ := e.plan(args...); r.code != 0 || !strings.Contains(r.out, `deployment/web`) {
			t.Errorf("%v: %s", args, r)
		}
	}
}

// A pod that is two servers of the Route counts as one pod: under two names of a port, on two ports, and with UDP
// beside TCP. Both pods of a sandbox must be ready, and both are proven.
func TestField03ServersAreNotPods(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	port := func(name string, number, target int32, protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: number, TargetPort: intstr.FromInt32(target), Protocol: protocol}
	}
	e.deployment("web", 4, func(_ *appsv1.Deployment, s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{port("http", 80, plainPort, corev1.ProtocolTCP), port("http-alt", 8080, plainPort, corev1.ProtocolTCP), port("h3", 8080, plainPort, corev1.ProtocolUDP)}
	})
	byNumber := intstr.FromInt32(plainPort)
	for name, target := range map[string]*routev1.RoutePort{"two names": {TargetPort: byNumber}, "no port": nil} {
		route := "shop-" + strings.ReplaceAll(name, " ", "-")
		e.route(func(r *routev1.Route) { r.Name, r.Spec.Host, r.Spec.Port = route, route+"-"+r.Spec.Host, target })
		if r, pods := e.plan("--route", route, "--weight", "100"); r.code != 0 || len(pods) != 3 {
			t.Errorf("%s: %d pods, want 3 (the work of 4 pods, each 1.5 times): %s", name, len(pods), r)
		}
	}
	e.route(func(r *routev1.Route) { r.Spec.Port = &routev1.RoutePort{TargetPort: byNumber} })
	if r := e.shift("--weight", "50", "--replicas", "2", "--for", "1s").wait(); r.code != 0 || strings.Count(r.errOut, "answers 200 through the router") != 4 {
		t.Errorf("wanted two pods with two servers each proven: %s", r)
	}
}

// Two programs and a colleague's debug copy are behind one Service. The user must say which one to clone.
func TestField12TwoProgramsBehindOneService(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("shop", -1, nil)
	for color, replicas := range map[string]int32{"blue": 1, "green": 3} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: color}, Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop", "color": color}}, Spec: fieldPod()},
		}}
		_, err := core.AppsV1().Deployments(e.ns).Create(t.Context(), d, metav1.CreateOptions{})
		e.ok(err)
	}
	_, err := core.CoreV1().Pods(e.ns).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a-debug-copy", Labels: map[string]string{"app": "shop"}}, Spec: fieldPod()}, metav1.CreateOptions{})
	e.ok(err)
	e.route(func(r *routev1.Route) { r.Spec.To.Name = "shop" })
	e.eventually("all pods are endpoints, and the session is refused", func() bool {
		r, _ := e.plan()
		return r.code == 1 && r.reports(reason.SeveralWorkloads) &&
			r.mentions("pod/a-debug-copy (1 pod(s))", "deployment/blue (1 pod(s))", "deployment/green (3 pod(s))", "--workload deployment/green")
	})
	e.checkDoctor(reason.SeveralWorkloads)
	if r, _ := e.plan("--workload", "deployment/green"); r.code != 0 || !strings.Contains(r.out, "deployment/green") {
		t.Error(r)
	}
}

// A proxy before the router takes cookies away. Nothing can be proven, so the smallest share comes first: a sandbox
// that answers 500 meets a canary, not half of the users. A good one goes live and ends without a cookie too.
func TestField16TheCookieThatNeverComes(t *testing.T) {
	t.Parallel()
	target, err := url.Parse("http://" + routerIP)
	if err != nil {
		t.Fatal(err)
	}
	waf := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Cookie")
		},
		ModifyResponse: func(r *http.Response) error { r.Header.Del("Set-Cookie"); return nil },
	})
	t.Cleanup(waf.Close)
	router := strings.TrimPrefix(waf.URL, "http://")
	for name, sandbox := range map[string]string{"a good sandbox": "", "a sandbox that answers 500": failingIP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			if sandbox != "" {
				e.sandboxIP = sandbox
			}
			e.deployment("web", 1, nil)
			host := e.route(nil).Spec.Host
			before := e.snapshot()
			e.eventuallyPolled("the router serves the Route", func() bool { return e.get(host) == "original" })
			e.checkDoctor(reason.NotProven, "--router", router)
			if r, _ := e.plan("--router", router); r.code != 0 || !r.reports(reason.NotProven) {
				t.Errorf("the dry run does not say that nothing can be proven: %s", r)
			}
			r := e.start("alice", "shift", "--route", "shop", "--router", router, "--drain", "1s", "--no-guard", "--weight", "50", "--for", "1s").wait()
			if !r.reports(reason.NotProven) || strings.Contains(r.errOut, "through the router") {
				t.Errorf("a session behind the proxy: %s", r)
			}
			if sandbox == "" && r.code != 0 || sandbox != "" && (r.code != 1 || !r.reports(reason.UsersNotAnswered) && !r.reports(reason.CanaryNotAnswered)) {
				t.Errorf("exit %d: %s", r.code, r)
			}
			if n := failedRequests.count(host); n > 3 {
				t.Errorf("%d requests were answered 500, wanted at most 3", n)
			}
			if after := e.snapshot(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.checkNothingLeft()
		})
	}
}

// A Route has a subdomain and no host: the host is in its status.
func TestField17ARouteBySubdomain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	host := e.route(nil).Spec.Host
	e.eventuallyPolled("the router serves the Route", func() bool { return e.get(host) == "original" })
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/host"},{"op":"add","path":"/spec/subdomain","value":"web"}]`), metav1.PatchOptions{})
	e.ok(err)
	// A second Route has the host and the same backends, because the development router does not serve subdomains.
	e.route(func(r *routev1.Route) { r.Name = "stand-in" })
	status := fmt.Sprintf(`[{"op":"add","path":"/status/ingress/-","value":{"routerName":"shard","host":%q,"conditions":[{"type":"Admitted","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}]`, host)
	_, err = routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.JSONPatchType, []byte(status), metav1.PatchOptions{}, "status")
	e.ok(err)
	if r, _ := e.plan(); r.code != 0 {
		t.Errorf("the dry run: %s", r)
	}
	// Preflight asks for that host. The stand-in's router cannot know the sandbox, so the proof fails.
	r := e.shift("--weight", "50").wait()
	if r.reports(reason.RouterNotReached) || !r.reports(reason.RouterDoesNotReachSandbox) {
		t.Errorf("the session does not ask for the host in the status: %s", r)
	}
}
