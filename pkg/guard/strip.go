package guard

import (
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// stripped is the kind of a Route or EndpointSlice that has been stripped. No API server sends it.
const stripped = "Stripped"

// stripObject keeps only the fields of a Route or EndpointSlice that the guard reads. A thousand sessions then need
// little memory, and other users cannot fill it with labelled objects.
func stripObject(o any) (any, error) {
	switch o := o.(type) {
	case *routev1.Route:
		if o.Kind == stripped {
			return o, nil
		}
		spec := routev1.RouteSpec{To: stripBackend(o.Spec.To)}
		for _, b := range o.Spec.AlternateBackends[:min(len(o.Spec.AlternateBackends), maxBackends)] {
			spec.AlternateBackends = append(spec.AlternateBackends, stripBackend(b))
		}
		if p := o.Spec.Port; p != nil {
			spec.Port = &routev1.RoutePort{TargetPort: intstr.IntOrString{Type: p.TargetPort.Type, IntVal: p.TargetPort.IntVal, StrVal: cut(p.TargetPort.StrVal, maxLabel)}}
		}
		meta := stripMeta(&o.ObjectMeta)
		meta.Annotations = keepKeys(o.Annotations, map[string]int{record.JournalKey: record.MaxJournal})
		if j, err := record.Decode(meta.Annotations[record.JournalKey]); err == nil {
			if short, err := j.Encode(); err == nil {
				meta.Annotations[record.JournalKey] = short // without what others added
			}
		}
		return &routev1.Route{TypeMeta: metav1.TypeMeta{Kind: stripped}, ObjectMeta: meta, Spec: spec}, nil
	case *discoveryv1.EndpointSlice:
		if o.Kind == stripped {
			return o, nil
		}
		s := &discoveryv1.EndpointSlice{TypeMeta: metav1.TypeMeta{Kind: stripped}, ObjectMeta: stripMeta(&o.ObjectMeta), AddressType: o.AddressType}
		for _, p := range o.Ports[:min(len(o.Ports), maxPorts)] {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: p.Name, Port: p.Port, Protocol: p.Protocol})
		}
		for _, e := range o.Endpoints[:min(len(o.Endpoints), record.MaxPods)] {
			kept := discoveryv1.Endpoint{Addresses: e.Addresses[:min(len(e.Addresses), 1)], Conditions: e.Conditions}
			if t := e.TargetRef; t != nil {
				kept.TargetRef = &corev1.ObjectReference{Kind: cut(t.Kind, maxName), Name: cut(t.Name, maxName)}
			}
			s.Endpoints = append(s.Endpoints, kept)
		}
		return s, nil
	}
	return o, nil
}

// Longest values that the guard reads, in bytes: a label or a port's name, an object's name, and a UID. The API
// server does not bound the names of a Route's backends.
const (
	maxLabel = 63
	maxName  = 253
	maxUID   = 64
)

// How many backends of a Route (OpenShift allows 4) and ports of an EndpointSlice the guard reads.
const (
	maxBackends = 8
	maxPorts    = 100
)

// stripBackend keeps a backend's name and weight.
func stripBackend(b routev1.RouteTargetReference) routev1.RouteTargetReference {
	return routev1.RouteTargetReference{Kind: cut(b.Kind, maxName), Name: cut(b.Name, maxName), Weight: b.Weight}
}

// cut cuts a value that is longer than limit, and keeps it too long to be valid. The result does not share
// memory with the value.
func cut(value string, limit int) string { return strings.Clone(value[:min(len(value), limit+1)]) }

// stripMeta keeps the identity of an object and the session and the Route that it names.
func stripMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	kept := identity(m)
	kept.Labels = keepKeys(m.Labels, map[string]int{record.Label: maxLabel, discoveryv1.LabelServiceName: maxLabel})
	kept.Annotations = keepKeys(m.Annotations, map[string]int{record.RouteNameKey: maxName, record.RouteUIDKey: maxUID})
	return kept
}

// identity keeps the identity of an object, and when it was created and deleted.
func identity(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}

// keepKeys returns the entries with these keys, cut to their limits, and nil for none.
func keepKeys(set map[string]string, limits map[string]int) map[string]string {
	var out map[string]string
	for k, limit := range limits {
		v, ok := set[k]
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = cut(v, limit)
	}
	return out
}
