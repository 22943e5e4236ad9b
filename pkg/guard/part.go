package guard

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// part is what the caches keep of a Service or pod with a session's label. It is small: anyone who can create
// pods can make thousands.
type part struct {
	metav1.ObjectMeta        // without labels and annotations
	id                string // the session
	route             string // the Route that the object names; "" if the object cannot be a session's
	node              string // the node of a pod
}

// GetObjectKind implements runtime.Object.
func (*part) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (p *part) DeepCopyObject() runtime.Object {
	out := *p
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// partOf returns a Service or pod as the caches keep it, and nil for other objects. A session's Service and pods
// are named after the session, and a sandbox pod has a RuntimeClass and a sidecar.
func partOf(o any) *part {
	switch o := o.(type) {
	case *part:
		return o
	case *corev1.Service:
		p := newPart(&o.ObjectMeta)
		if o.Name != record.ServiceName(p.id) {
			p.route = ""
		}
		return p
	case *corev1.Pod:
		p := newPart(&o.ObjectMeta)
		if o.Spec.RuntimeClassName == nil || !hasSidecar(o) || !record.NamesPod(o.Name, p.id, nil) {
			p.route = ""
		}
		p.node = o.Spec.NodeName
		return p
	}
	return nil
}

func newPart(m *metav1.ObjectMeta) *part {
	return &part{
		ObjectMeta: identity(m), id: cut(m.Labels[record.Label], maxLabel), route: cut(m.Annotations[record.RouteNameKey], maxName),
	}
}

// keep is the transform of the caches: it returns what they keep of an object.
func keep(o any) (any, error) {
	if p := partOf(o); p != nil {
		return p, nil
	}
	return stripObject(o)
}
