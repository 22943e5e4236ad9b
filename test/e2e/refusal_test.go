//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// readOnlyProxy returns a kubeconfig with a user's credentials whose requests may read, do dry runs
// and create access reviews. Any other write fails the test and is answered with 403.
func (e *env) readOnlyProxy(like string) string {
	e.t.Helper()
	return e.proxied(like, func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		asks := r.Method == http.MethodGet || r.URL.Query().Get("dryRun") == metav1.DryRunAll ||
			strings.HasPrefix(r.URL.Path, "/apis/authorization.k8s.io/") || strings.HasPrefix(r.URL.Path, "/apis/authentication.k8s.io/")
		if !asks {
			e.t.Errorf("unexpected write: %s %s", r.Method, r.URL)
			refuse(w, "403")
			return
		}
		forward(w, r)
	})
}

// Every refusal names its reason and changes nothing.
func TestRefusalsChangeNothing(t *testing.T) {
	t.Parallel()
	type refusal struct {
		deployment func(*appsv1.Deployment, *corev1.Service)
		route      func(*routev1.Route)
		before     func(*env) // runs before the Deployment and the Route are created
		setup      func(*env) // runs afterwards
		user       string
		args       []string
		code       int
		why        reason.Code
		names      []string // values in the message
	}
	none := func(d *appsv1.Deployment, _ *corev1.Service) { *d.Spec.Replicas = 0 }
	for name, c := range map[string]refusal{
		"no such Route":       {args: []string{"--route", "nope"}, code: 1, why: reason.RouteNotFound},
		"weight out of range": {args: []string{"--weight", "101"}, code: 2, why: reason.WrongUsage, names: []string{"--weight must be"}},
		"unknown gadget":      {args: []string{"--trace", "magic"}, code: 2, why: reason.WrongUsage, names: []string{`gadget "magic"`, "open, tcp"}},
		"both floors":         {args: []string{"--exact", "--failover"}, code: 2, why: reason.WrongUsage, names: []string{"--exact", "--failover"}},
		"too long":            {args: []string{"--ttl", "9h"}, code: 2, why: reason.WrongUsage, names: []string{"9h0m0s", record.Longest.String()}},
		"not admitted": {route: func(r *routev1.Route) { r.Spec.Host = "taken.apps.osc-debug.test" }, code: 1, why: reason.RouteNotAdmitted, names: []string{"HostAlreadyClaimed"},
			before: func(e *env) {
				other := newEnv(e.t)
				other.route(func(r *routev1.Route) { r.Spec.Host = "taken.apps.osc-debug.test" })
				time.Sleep(time.Second) // the older Route owns the host, and ages are compared in seconds
			}},
		"made by an Ingress": {setup: ownedByIngress, code: 1, why: reason.RouteHasOwner, names: []string{"Ingress shop"}},
		"in a session":       {route: func(r *routev1.Route) { r.Labels = map[string]string{record.Label: "bcdfghjk"} }, code: 1, why: reason.RouteInSession, names: []string{"bcdfghjk of an unknown user"}},
		"balance source": {route: func(r *routev1.Route) {
			r.Annotations = map[string]string{"haproxy.router.openshift.io/balance": "source"}
		}, code: 1, why: reason.BalanceIgnoresWeights, names: []string{" source "}},
		"balance leastconn": {route: func(r *routev1.Route) {
			r.Annotations = map[string]string{"haproxy.router.openshift.io/balance": "leastconn"}
		}, code: 1, why: reason.BalanceIgnoresWeights, names: []string{" leastconn "}},
		"three alternates": {route: func(r *routev1.Route) {
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 1), alternate("c", 1), alternate("d", 1))
		}, code: 1, why: reason.AlternateBackendsFull, names: []string{": 3 "}},
		"primary twice": {route: func(r *routev1.Route) {
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("web", 1))
		}, code: 1, why: reason.BackendNamedTwice, names: []string{" web "}},
		"unknown port":    {route: func(r *routev1.Route) { r.Spec.Port.TargetPort = intstr.FromString("grpc") }, code: 1, why: reason.NoReadyBackend},
		"no ready pod":    {deployment: none, code: 1, why: reason.NoReadyBackend},
		"all weights 0":   {route: func(r *routev1.Route) { r.Spec.To.Weight = weight(0) }, code: 1, why: reason.NoReadyBackend},
		"other workload":  {args: []string{"--workload", "deployment/api"}, code: 1, why: reason.OtherWorkload, names: []string{"deployment/web", "deployment/api"}},
		"other container": {args: []string{"--container", "db"}, code: 1, why: reason.NoSuchContainer, names: []string{`"db"`}},
		"hostPath": {deployment: func(d *appsv1.Deployment, _ *corev1.Service) {
			d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "etc", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}}}
		}, code: 1, why: reason.HostPathVolume, names: []string{"/etc "}},
		"hostPID": {deployment: func(d *appsv1.Deployment, _ *corev1.Service) { d.Spec.Template.Spec.HostPID = true }, code: 1, why: reason.HostNamespaces},
		"written claim": {deployment: func(d *appsv1.Deployment, _ *corev1.Service) {
			d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		}, before: func(e *env) { createClaim(e, corev1.ReadWriteOnce) }, code: 1, why: reason.ClaimInUse, names: []string{"--empty-volume data"}},
		"claim that one pod writes": {deployment: func(d *appsv1.Deployment, _ *corev1.Service) {
			d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
			d.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}, before: func(e *env) { createClaim(e, corev1.ReadWriteMany) }, code: 1, why: reason.ClaimHasOneWriter, names: []string{"claim data", "volume data"}},
		"secondary networks": {deployment: func(d *appsv1.Deployment, _ *corev1.Service) {
			d.Spec.Template.Annotations = map[string]string{"k8s.v1.cni.cncf.io/networks": "storage"}
		}, code: 1, why: reason.SecondaryNetworks, names: []string{"(storage)"}},
		"primary without users": {route: func(r *routev1.Route) {
			r.Spec.To.Weight = weight(0)
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("green", 7))
		}, setup: func(e *env) { e.deployment("green", 1, nil) }, code: 1, why: reason.PrimaryServesNobody, names: []string{" web,", "green"}},
		"missing Service": {route: func(r *routev1.Route) {
			r.Spec.To.Name = "nope"
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("web", 1))
		}, code: 1, why: reason.ServiceMissing, names: []string{"nope"}},
		"a controller's": {route: func(r *routev1.Route) {
			yes := true
			r.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "WebApp", Name: "shop", UID: "x", Controller: &yes}}
		}, code: 1, why: reason.RouteHasOwner, names: []string{"WebApp shop"}},
		"external certificate": {route: func(r *routev1.Route) {
			r.Spec.TLS = &routev1.TLSConfig{Termination: "edge", ExternalCertificate: &routev1.LocalObjectReference{Name: "cert"}}
		}, code: 1, why: reason.ExternalCertificate},
		"re-encryption without a CA": {route: func(r *routev1.Route) {
			r.Spec.TLS = &routev1.TLSConfig{Termination: "reencrypt"}
			r.Spec.Port.TargetPort = intstr.FromString("https")
		}, code: 1, why: reason.DestinationCAMissing},
		"idled": {deployment: func(_ *appsv1.Deployment, s *corev1.Service) {
			s.Annotations = map[string]string{"idling.alpha.openshift.io/idled-at": "2026-11-22T00:00:00Z"}
		}, code: 1, why: reason.ServiceIdled, names: []string{"2026-11-22T00:00:00Z"}},
		"a budget for all pods": {setup: func(e *env) {
			one := intstr.FromInt32(1)
			_, err := core.PolicyV1().PodDisruptionBudgets(e.ns).Create(e.t.Context(), &policyv1.PodDisruptionBudget{
				ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}, MinAvailable: &one},
			}, metav1.CreateOptions{})
			e.ok(err)
		}, code: 1, why: reason.BudgetSelectsEveryPod, names: []string{"poddisruptionbudget/all"}},
		"runtime class not allowed": {args: []string{"--runtime-class", "runsc"}, code: 6, why: reason.RuntimeClassForbidden, names: []string{"runsc", "kata, kata-remote, gvisor"}},
		"no guard here":             {args: []string{"--no-guard=false"}, code: 1, why: reason.GuardNotRunning, names: []string{"oc create rolebinding osc-debug-guard -n "}},
		"detached without a guard":  {args: []string{"--detach"}, code: 2, why: reason.WrongUsage, names: []string{"--detach", "--no-guard"}},
		"no such runtime class":     {args: []string{"--runtime-class", "gvisor"}, code: 6, why: reason.RuntimeClassNotFound, names: []string{"gvisor"}},
		"restricted namespace": {setup: func(e *env) {
			_, err := core.CoreV1().Namespaces().Patch(e.t.Context(), e.ns, types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`), metav1.PatchOptions{})
			e.ok(err)
		}, code: 6, why: reason.PodSecurityForbids, names: []string{"pod-security.kubernetes.io/enforce=privileged"}},
		"quota": {setup: func(e *env) {
			_, err := core.CoreV1().ResourceQuotas(e.ns).Create(e.t.Context(), &corev1.ResourceQuota{
				ObjectMeta: metav1.ObjectMeta{Name: "pods"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("1")}},
			}, metav1.CreateOptions{})
			e.ok(err)
			e.eventually("the quota's count", func() bool {
				q, err := core.CoreV1().ResourceQuotas(e.ns).Get(e.t.Context(), "pods", metav1.GetOptions{})
				return err == nil && q.Status.Used.Pods().Value() == 1
			})
		}, code: 6, why: reason.QuotaExceeded},
		"quota that wants limits": {setup: func(e *env) {
			_, err := core.CoreV1().ResourceQuotas(e.ns).Create(e.t.Context(), &corev1.ResourceQuota{
				ObjectMeta: metav1.ObjectMeta{Name: "sandboxes"}, Spec: corev1.ResourceQuotaSpec{
					Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}, Hard: corev1.ResourceList{"limits.cpu": resource.MustParse("8")}},
			}, metav1.CreateOptions{})
			e.ok(err)
			e.eventually("the quota's count", func() bool {
				q, err := core.CoreV1().ResourceQuotas(e.ns).Get(e.t.Context(), "sandboxes", metav1.GetOptions{})
				return err == nil && q.Status.Hard != nil
			})
		}, code: 6, why: reason.QuotaWantsResources},
		"no rights":              {setup: func(e *env) { e.bind("bob", "view"); e.bind("bob", "development-routes-edit") }, user: "bob", code: 6, why: reason.PermissionsMissing, names: []string{"bob", "create services, delete services, create pods, delete pods, create pods/exec"}},
		"router out of reach":    {args: []string{"--router", "127.0.0.1:1"}, code: 1, why: reason.RouterNotReached},
		"too much for five pods": {deployment: func(d *appsv1.Deployment, _ *corev1.Service) { *d.Spec.Replicas = 9 }, code: 1, why: reason.TooMuchLoad, names: []string{"--weight 83"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			if c.before != nil {
				c.before(e)
			}
			e.deployment("web", 1, c.deployment)
			e.route(c.route)
			if c.setup != nil {
				c.setup(e)
			}
			args := append([]string{"shift", "--route", "shop", "--router", routerIP, "--weight", "100", "--for", "1s", "--no-guard"}, c.args...)
			r := e.start(e.readOnlyProxy(cmp.Or(c.user, "alice")), args...).wait()
			if r.code != c.code || !r.reports(c.why) || !r.mentions(c.names...) {
				t.Errorf("wanted exit %d, %s and %q: %s", c.code, c.why, c.names, r)
			}
		})
	}
}

// ownedByIngress creates an Ingress and makes it the Route's owner.
func ownedByIngress(e *env) {
	class := networkingv1.PathTypePrefix
	made, err := core.NetworkingV1().Ingresses(e.ns).Create(e.t.Context(), &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "x", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &class, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}}},
		}}}}},
	}, metav1.CreateOptions{})
	e.ok(err)
	patch := fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","name":"shop","uid":%q,"controller":true}]}}`, made.UID)
	_, err = routes.RouteV1().Routes(e.ns).Patch(e.t.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	e.ok(err)
}

// createClaim creates PersistentVolumeClaim data with an access mode, and its volume.
func createClaim(e *env, mode corev1.PersistentVolumeAccessMode) {
	_, err := core.CoreV1().PersistentVolumes().Create(e.t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: e.ns},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp"}},
			ClaimRef:               &corev1.ObjectReference{Namespace: e.ns, Name: "data"},
		},
	}, metav1.CreateOptions{})
	e.ok(err)
	none := ""
	_, err = core.CoreV1().PersistentVolumeClaims(e.ns).Create(e.t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{mode}, StorageClassName: &none, VolumeName: e.ns,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}},
	}, metav1.CreateOptions{})
	e.ok(err)
}
