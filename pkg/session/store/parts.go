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
	delete func(context.Context, string, metav1.DeleteOptions) error
}

// Delete deletes the very object that was seen, and none that has its name by now.
func (p Part) Delete(ctx context.Context) error {
	return p.delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
}

// Parts lists the Service and pods that bear a session's label, name its Route, and are no
// controller's: the Service by its own name only, pods only under a runtime class. pods are
// all that bear the label, to be watched from there. The session's disruption budget and
// NetworkPolicies are its Service's and go with it.
func (s Store) Parts(ctx context.Context, namespace, route, id string) (parts []Part, pods *corev1.PodList, err error) {
	serviceClient, podClient := s.Core.CoreV1().Services(namespace), s.Core.CoreV1().Pods(namespace)
	services, servicesErr := serviceClient.List(ctx, labelled(id))
	pods, podsErr := podClient.List(ctx, labelled(id))
	if err := errors.Join(servicesErr, podsErr); err != nil {
		return nil, nil, err
	}
	for i := range services.Items {
		if o := &services.Items[i].ObjectMeta; o.Name == record.ServiceName(id) && made(o, route) {
			parts = append(parts, Part{o, "service", nil, serviceClient.Delete})
		}
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; madePod(p, route) {
			parts = append(parts, Part{&p.ObjectMeta, "pod", p, podClient.Delete})
		}
	}
	return parts, pods, nil
}

// madePod: without a runtime class it can't be a sandbox, whatever somebody wrote on it.
func madePod(p *corev1.Pod, route string) bool {
	return p.Spec.RuntimeClassName != nil && made(&p.ObjectMeta, route)
}

func labelled(id string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: record.Label + "=" + id}
}

// made says whether a session on the Route made an object.
func made(o *metav1.ObjectMeta, route string) bool {
	return o.Annotations[record.RouteNameKey] == route && o.Annotations[record.RouteUIDKey] != "" && metav1.GetControllerOf(o) == nil
}
