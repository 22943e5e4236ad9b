package store

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Part is an object of a session's sandbox.
type Part struct {
	*metav1.ObjectMeta
	Kind   string
	Pod    *corev1.Pod // nil for other kinds
	remove func(context.Context, string, metav1.DeleteOptions) error
}

// String returns kind/name.
func (p Part) String() string { return p.Kind + "/" + p.Name }

// delete deletes exactly the object that was seen, not a newer one with the same name.
func (p Part) delete(ctx context.Context) error {
	return p.remove(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
}

// parts lists the Service and pods that have a session's label, name its Route, and have no
// controller. The Service must have the session's name, and pods must have a RuntimeClass. pods is
// the list of all pods with the label, from which a watch can start. The session's disruption
// budget and NetworkPolicies are owned by its Service and deleted with it.
func (s Store) parts(ctx context.Context, namespace, route, id string) (parts []Part, pods *corev1.PodList, err error) {
	serviceClient, podClient := s.Core.CoreV1().Services(namespace), s.Core.CoreV1().Pods(namespace)
	services, servicesErr := serviceClient.List(ctx, sessionListOptions(id))
	pods, podsErr := podClient.List(ctx, sessionListOptions(id))
	if err := errors.Join(servicesErr, podsErr); err != nil {
		return nil, nil, err
	}
	for i := range services.Items {
		if o := &services.Items[i].ObjectMeta; o.Name == record.ServiceName(id) && isSessionObject(o, route) {
			parts = append(parts, Part{o, "service", nil, serviceClient.Delete})
		}
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; isSessionPod(p, route) {
			parts = append(parts, Part{&p.ObjectMeta, "pod", p, podClient.Delete})
		}
	}
	return parts, pods, nil
}

// isSessionPod reports whether a session on the Route created the pod. Without a RuntimeClass it is
// not a sandbox, whatever its annotations say.
func isSessionPod(p *corev1.Pod, route string) bool {
	return p.Spec.RuntimeClassName != nil && isSessionObject(&p.ObjectMeta, route)
}

// sessionListOptions selects the objects with a session's label.
func sessionListOptions(id string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: record.Label + "=" + id}
}

// isSessionObject reports whether a session on the Route created an object.
func isSessionObject(o *metav1.ObjectMeta, route string) bool {
	return o.Annotations[record.RouteNameKey] == route && o.Annotations[record.RouteUIDKey] != "" && metav1.GetControllerOf(o) == nil
}
