package store

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

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

// endsTooLate reports whether someone deleted a pod with a longer grace period than sandboxes may have.
func (p Part) endsTooLate() bool {
	return p.Pod != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds > int64(record.MaxGrace.Seconds())
}

// delete deletes exactly the object that was seen, not a newer one with the same name. A pod gets its
// own grace period, but at most record.MaxGrace: someone may have created it with a longer one.
func (p Part) delete(ctx context.Context) error {
	o := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}}
	longest := int64(record.MaxGrace.Seconds())
	if p.endsTooLate() || p.Pod != nil && p.Pod.Spec.TerminationGracePeriodSeconds != nil && *p.Pod.Spec.TerminationGracePeriodSeconds > longest {
		o.GracePeriodSeconds = &longest
	}
	return p.remove(ctx, p.Name, o)
}

// parts lists the Service and pods that have a session's label and name its Route. The Service must have the
// session's name. Pods must have a name of the session's and a RuntimeClass. pods is the list of all pods with
// the label, from which a watch can start. The session's disruption budget and NetworkPolicies are owned by its
// Service and deleted with it.
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

// partsByName is parts for a caller that knows the names of the pods, from a cache. It reads only these, and
// so needs little memory: anyone who can create pods can give thousands of them a session's label.
func (s Store) partsByName(ctx context.Context, namespace, route, id string, names []string) (parts []Part, err error) {
	serviceClient, podClient := s.Core.CoreV1().Services(namespace), s.Core.CoreV1().Pods(namespace)
	services, err := serviceClient.List(ctx, named(record.ServiceName(id)))
	if err != nil {
		return nil, err
	}
	for i := range services.Items {
		if o := &services.Items[i].ObjectMeta; o.Labels[record.Label] == id && isSessionObject(o, route) {
			parts = append(parts, Part{o, "service", nil, serviceClient.Delete})
		}
	}
	for _, name := range names {
		pods, err := podClient.List(ctx, named(name))
		if err != nil {
			return nil, err
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Labels[record.Label] == id && isSessionPod(p, route) {
				parts = append(parts, Part{&p.ObjectMeta, "pod", p, podClient.Delete})
			}
		}
	}
	return parts, nil
}

// named selects the object with a name. Reading it needs only permission to list.
func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
}

// isSessionPod reports whether a session on the Route created the pod. Without a RuntimeClass or under
// another name it is not a sandbox, whatever its annotations say.
func isSessionPod(p *corev1.Pod, route string) bool {
	return p.Spec.RuntimeClassName != nil && record.NamesPod(p.Name, p.Labels[record.Label], nil) && isSessionObject(&p.ObjectMeta, route)
}

// sessionListOptions selects the objects with a session's label.
func sessionListOptions(id string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: record.Label + "=" + id}
}

// isSessionObject reports whether a session on the Route created an object. A controller does not count:
// one may have adopted the object since.
func isSessionObject(o *metav1.ObjectMeta, route string) bool {
	return o.Annotations[record.RouteNameKey] == route && o.Annotations[record.RouteUIDKey] != ""
}
