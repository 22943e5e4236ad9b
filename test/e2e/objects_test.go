//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// bind gives a user a ClusterRole in the test's namespace.
func (e *env) bind(user, role string) {
	e.t.Helper()
	_, err := core.RbacV1().RoleBindings(e.ns).Create(e.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-" + role},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: user}},
	}, metav1.CreateOptions{})
	e.ok(err)
}

// markRunning writes the status of a pod that runs and is ready.
func (e *env) markRunning(ctx context.Context, pod *corev1.Pod) {
	ip, now := e.podAddress(pod), metav1.Now() // since when a pod is ready counts with minReadySeconds
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
		},
	}
	for _, c := range pod.Spec.Containers {
		started := true
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Ready: true, Started: &started, Image: c.Image, ImageID: fakeImageID,
			ContainerID: "containerd://" + strings.Repeat("a", 64), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		})
	}
	data, _ := json.Marshal(map[string]any{"status": status})
	for ctx.Err() == nil {
		_, err := core.CoreV1().Pods(e.ns).Patch(ctx, pod.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		fmt.Fprintf(os.Stderr, "cannot write the status of pod %s/%s, retrying: %v\n", e.ns, pod.Name, err)
		time.Sleep(100 * time.Millisecond)
	}
}

// deployment creates a Deployment and a Service of a name, with port http and, for TLS Routes,
// port https, and waits for its endpoints.
func (e *env) deployment(name string, replicas int32, change func(*appsv1.Deployment, *corev1.Service)) {
	e.t.Helper()
	labels := map[string]string{"app": name, "tier": "front"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{
						Name: "web", Image: fakeImage,
						Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: plainPort}, {Name: "https", ContainerPort: tlsPort}},
					}},
				},
			},
		},
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromString("http")},
			{Name: "https", Port: 443, TargetPort: intstr.FromInt32(tlsPort)},
		}},
	}
	onFakeNode(&d.Spec.Template.Spec)
	if change != nil {
		change(d, s)
	}
	_, err := core.CoreV1().Services(e.ns).Create(e.t.Context(), s, metav1.CreateOptions{})
	e.ok(err)
	if *d.Spec.Replicas < 0 {
		return
	}
	_, err = core.AppsV1().Deployments(e.ns).Create(e.t.Context(), d, metav1.CreateOptions{})
	e.ok(err)
	e.eventually("endpoints of "+name, func() bool { return e.readyEndpoints(name, s.Spec.Ports[0].Name) == int(replicas) })
}

// readyEndpoints counts the ready endpoints of a Service that have its port of this name. A pod without the port is
// in an EndpointSlice of its own.
func (e *env) readyEndpoints(service, port string) (n int) {
	list, err := core.DiscoveryV1().EndpointSlices(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		return -1
	}
	for _, s := range list.Items {
		if !slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool { return *p.Name == port }) {
			continue
		}
		for _, endpoint := range s.Endpoints {
			if ready := endpoint.Conditions.Ready; ready == nil || *ready {
				n++
			}
		}
	}
	return n
}

// route creates Route "shop" to Service "web" on port http, as change alters it, and waits until a
// router has reported a status for it.
func (e *env) route(change func(*routev1.Route)) *routev1.Route {
	e.t.Helper()
	weight := int32(100)
	r := &routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: e.ns},
		Spec: routev1.RouteSpec{
			Host: e.ns + ".apps.osc-debug.test", To: routev1.RouteTargetReference{Kind: "Service", Name: "web", Weight: &weight},
			Port: &routev1.RoutePort{TargetPort: intstr.FromString("http")},
		},
	}
	if change != nil {
		change(r)
	}
	name := r.Name
	_, err := routes.RouteV1().Routes(e.ns).Create(e.t.Context(), r, metav1.CreateOptions{FieldManager: "owner"})
	e.ok(err)
	e.eventually("a router has reported a status for route "+name, func() bool {
		r, err = routes.RouteV1().Routes(e.ns).Get(e.t.Context(), name, metav1.GetOptions{})
		return err == nil && len(r.Status.Ingress) > 0
	})
	return r
}
