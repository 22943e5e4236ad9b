//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// In a namespace that denies traffic by default, the session copies the original's NetworkPolicies
// and removes the copies when it ends. Nothing enforces policies on the local cluster, so the test
// checks the objects.
func TestMirroredPolicies(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	for name, spec := range map[string]networkingv1.NetworkPolicySpec{
		"default-deny": {PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}},
		"from-router": {PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"policy-group.network.openshift.io/ingress": ""}}}}}}},
		"database": {PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}}}},
	} {
		_, err := core.NetworkingV1().NetworkPolicies(e.ns).Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
		e.ok(err)
	}
	ours := func() []networkingv1.NetworkPolicy {
		list, err := core.NetworkingV1().NetworkPolicies(e.ns).List(context.Background(), metav1.ListOptions{LabelSelector: record.Label})
		e.ok(err)
		return list.Items
	}
	run := e.shift("--weight", "50")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	mirrored, opened := false, false
	for _, p := range ours() {
		switch {
		case p.Annotations["osc-debug.dev/mirrors"] == "from-router":
			mirrored = p.Spec.PodSelector.MatchLabels[record.Label] != "" && len(p.Spec.Ingress) == 1 && p.Spec.Ingress[0].From[0].NamespaceSelector != nil
		case p.Annotations["osc-debug.dev/opens"] == "database":
			opened = p.Spec.PodSelector.MatchLabels["app"] == "db" && len(p.Spec.Ingress) == 1 && p.Spec.Ingress[0].From[0].PodSelector.MatchLabels[record.Label] != ""
		default:
			t.Errorf("unexpected policy: %+v", p)
		}
	}
	if !mirrored || !opened {
		t.Errorf("mirrored %v, opened %v: %+v", mirrored, opened, ours())
	}
	run.signal(2)
	r := run.wait()
	if r.code != 0 || !strings.Contains(r.errOut, "NetworkPolicy from-router is copied for the sandbox") || !strings.Contains(r.errOut, "NetworkPolicy database allows the original; during the session, a NetworkPolicy allows the sandbox too") {
		t.Error(r)
	}
	e.eventually("no policy of the session is left", func() bool { return len(ours()) == 0 })
}

// A rollout of the original is reported; with --follow-rollout=rollback it ends the session.
func TestARolloutDuringTheSession(t *testing.T) {
	t.Parallel()
	for follow, c := range map[string]struct {
		why  reason.Code
		ends bool
	}{
		"false":    {reason.RolloutHappened, false},
		"rollback": {reason.RolloutEndedSession, true},
	} {
		t.Run(follow, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.deployment("web", 1, nil)
			e.route(nil)
			run := e.shift("--weight", "50", "--follow-rollout", follow)
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			e.scale("web", 2) // another pod of the same revision is not a rollout
			_, err := core.AppsV1().Deployments(e.ns).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"template":{"metadata":{"annotations":{"rolled":"out"}}}}}`), metav1.PatchOptions{})
			e.ok(err)
			e.eventually("the command reports the rollout", func() bool {
				return run.reports(c.why) && strings.Contains(run.progress.String(), "pod web-")
			})
			if !c.ends {
				run.signal(2)
			}
			if r := run.wait(); (r.code != 0) != c.ends {
				t.Error(r)
			}
			e.checkNothingLeft()
		})
	}
}

// Steps are taken in order. Others may change their own alternates meanwhile, and the ratio of the
// originals is kept. Once someone else changes the sandbox's share, no further step is taken.
func TestSteps(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T) *env {
		e := newEnv(t)
		e.deployment("web", 1, nil)
		e.deployment("b", 1, nil)
		e.route(func(r *routev1.Route) {
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 50))
		})
		return e
	}
	patch := func(e *env, index int, weight int32) {
		_, err := routes.RouteV1().Routes(e.ns).Patch(e.t.Context(), "shop", types.JSONPatchType, fmt.Appendf(nil, `[{"op":"replace","path":"/spec/alternateBackends/%d/weight","value":%d}]`, index, weight), metav1.PatchOptions{})
		e.ok(err)
	}
	t.Run("to the end", func(t *testing.T) {
		t.Parallel()
		e := prepare(t)
		run := e.shift("--steps", "5,25,60", "--interval", "3s")
		if !run.reaches("live") {
			t.Fatal(run.wait())
		}
		patch(e, 0, 77) // the weight of b, which is not part of the session
		e.eventually("60 %", func() bool {
			s := record.Of(e.getRoute("shop"))
			return s != nil && s.Journal != nil && s.Journal.Asked == 60
		})
		run.signal(2)
		r := run.wait()
		if r.code != 4 || r.reports(reason.StepsStopped) {
			t.Error(r)
		}
		for _, step := range []string{"5 % of new clients", "25 % of new clients", "60 % of new clients"} {
			if !strings.Contains(r.errOut, step) {
				t.Errorf("no step with %s: %s", step, r)
			}
		}
		if spec := e.getRoute("shop").Spec; *spec.To.Weight != 100 || len(spec.AlternateBackends) != 1 || *spec.AlternateBackends[0].Weight != 77 {
			t.Errorf("the Route afterwards: %+v", spec)
		}
	})
	t.Run("an edit at the moment of a step", func(t *testing.T) {
		t.Parallel()
		e := prepare(t)
		patches := 0
		config := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
			if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/routes/shop") && r.URL.Query().Get("dryRun") == "" {
				if patches++; patches == 3 { // the first two are the arming and the first step
					patch(e, 0, 33)
				}
			}
			forward(w, r)
		})
		run := e.start(config, "shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard", "--steps", "5,25", "--interval", "2s")
		if !run.reaches("live") {
			t.Fatal(run.wait())
		}
		e.eventually("25 %", func() bool {
			s := record.Of(e.shop())
			return s != nil && s.Journal != nil && s.Journal.Asked == 25
		})
		spec := e.shop().Spec
		if web, b := float64(*spec.To.Weight), float64(*spec.AlternateBackends[0].Weight); math.Abs(b/web-0.33) > 0.05 {
			t.Errorf("weights web %g, b %g: the step overwrote the edit", web, b)
		}
		run.signal(2)
		if r := run.wait(); r.code != 4 || !strings.Contains(r.errOut, " in 1s: ") {
			t.Error(r)
		}
		if spec := e.shop().Spec; *spec.To.Weight != 100 || *spec.AlternateBackends[0].Weight != 33 {
			t.Errorf("the Route afterwards: %+v", spec)
		}
	})
	t.Run("until someone else changes the share", func(t *testing.T) {
		t.Parallel()
		e := prepare(t)
		run := e.shift("--steps", "5,25,60", "--interval", "4s", "--for", "12s")
		if !run.reaches("live") {
			t.Fatal(run.wait())
		}
		patch(e, 1, 0) // the sandbox's weight
		r := run.wait()
		if r.code != 4 || !r.reports(reason.StepsStopped) || !r.mentions("25 %, 60 %") || strings.Contains(r.errOut, "25 % of new clients") {
			t.Error(r)
		}
	})
}

// The user can change the clone's images and variables and give it empty volumes. Names that the
// original does not have are refused.
func TestChangesToTheClone(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) {
		d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv"}}}}
	})
	e.route(func(r *routev1.Route) { r.Spec.Port.TargetPort = intstr.FromString("http") })
	run := e.shift("--weight", "50", "--set-image", "web=quay.io/team/web:debug", "--set-env", "web:LOG=debug", "--empty-volume", "data", "--separate-pids")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	pods, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: record.Label})
	e.ok(err)
	spec := pods.Items[0].Spec
	if c := spec.Containers[1]; c.Image != "quay.io/team/web:debug" || len(c.Env) != 1 || c.Env[0].Value != "debug" || spec.Volumes[0].EmptyDir == nil || *spec.ShareProcessNamespace {
		t.Errorf("the clone: %+v", spec)
	}
	run.signal(2)
	if r := run.wait(); r.code != 0 {
		t.Error(r)
	}
	for flag, c := range map[string]struct {
		why        reason.Code
		asked, has string
	}{
		"--set-image=db=x":         {reason.NoSuchContainer, `"db"`, " web"},
		"--set-env=db:A=b":         {reason.NoSuchContainer, `"db"`, " web"},
		"--empty-volume=data,logs": {reason.NoSuchVolume, `"logs"`, " data"},
	} {
		if r := e.shift("--weight", "50", "--empty-volume", "data", flag).wait(); r.code != 1 || !r.reports(c.why) || !r.mentions(c.asked, c.has) {
			t.Errorf("%s: %s", flag, r)
		}
	}
}
