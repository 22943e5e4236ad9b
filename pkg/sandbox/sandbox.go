// Package sandbox makes the objects of a sandbox out of the live program: pods that
// run in a VM of their own beside a privileged sidecar, the Service that the Route
// gets as one more backend, and what the session needs around them. Pure functions;
// nothing here talks to a cluster.
package sandbox

import (
	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Input is all that a sandbox is made of.
type Input struct {
	Session      string
	Route        *routev1.Route
	Program      *workload.Program
	Service      *corev1.Service              // the Route's primary
	Selectors    []workload.Selector          // that the clone must escape
	Policies     []networkingv1.NetworkPolicy // of the namespace
	Ranges       []corev1.LimitRange          // of the namespace
	RuntimeClass string
	Image        string // sidecar
	Replicas     int
	Changes
}

// Changes are what the user wants to be different from the running program.
type Changes struct {
	Images        map[string]string          // by container
	Env           map[string][]corev1.EnvVar // by container
	EmptyVolumes  []string                   // volumes that the sandbox gets without their contents
	SeparatePIDs  bool                       // each container is its own process 1
	KeepsLiveness bool
}

// meta is that of the session's objects that are named after it.
func (in Input) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: record.ServiceName(in.Session), Namespace: in.Route.Namespace, Labels: withSession(nil, in.Session),
		Annotations:     map[string]string{record.RouteUIDKey: string(in.Route.UID), record.RouteNameKey: in.Route.Name},
		OwnerReferences: in.owners(),
	}
}

// owners makes the Route the owner: when it is deleted, so is the sandbox. Without
// blockOwnerDeletion, which would need rights on the Route's finalizers.
func (in Input) owners() []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: routev1.GroupVersion.String(), Kind: "Route", Name: in.Route.Name, UID: in.Route.UID,
	}}
}

// OwnedBy has an object go when the sandbox' Service does, by the garbage collector: the
// guard needs no right of its own for it.
func OwnedBy(service *corev1.Service) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID}}
}

func withSession(set map[string]string, id string) map[string]string {
	out := map[string]string{record.Label: id}
	for k, v := range set {
		out[k] = v
	}
	return out
}
