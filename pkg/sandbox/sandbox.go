// Package sandbox derives the objects of a sandbox from the live program: pods that each run in a VM
// with a privileged sidecar, the Service that becomes a backend of the Route, and their supporting
// objects. Its functions are pure; nothing here talks to a cluster.
package sandbox

import (
	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Input is what the objects of a sandbox are derived from.
type Input struct {
	Session      string
	Route        *routev1.Route
	Program      *workload.Program
	Service      *corev1.Service              // the Route's primary Service
	Selectors    []workload.Selector          // must not match the clone
	Policies     []networkingv1.NetworkPolicy // of the namespace
	Ranges       []corev1.LimitRange          // of the namespace
	RuntimeClass string
	Image        string // of the sidecar
	Replicas     int
	// AnnotationDomains are the domains of annotations that the administrator allows, in addition to the
	// usual ones.
	AnnotationDomains []string
	// NeededLabels are the keys of labels that an admission policy demands. If a choice exists, the clone
	// keeps them and drops others.
	NeededLabels []string
	// Traced is the container that is traced: see Container.
	Traced string
	// Record are the names of the gadgets that the sidecar records from the program's first instruction on.
	Record []string
	Changes
}

// Changes are the differences from the running program that the user requested.
type Changes struct {
	Images        map[string]string          // by container
	Env           map[string][]corev1.EnvVar // by container
	EmptyVolumes  []string                   // volumes that are empty in the sandbox
	SkipInit      []string                   // init containers that do not run
	SeparatePIDs  bool                       // no shared process namespace
	KeepsLiveness bool                       // keep liveness probes
}

// objectMeta returns the metadata of an object that is named after the session.
func (in Input) objectMeta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: record.ServiceName(in.Session), Namespace: in.Route.Namespace, Labels: withSession(nil, in.Session),
		Annotations:     map[string]string{record.RouteUIDKey: string(in.Route.UID), record.RouteNameKey: in.Route.Name},
		OwnerReferences: in.ownerReferences(),
	}
}

// ownerReferences makes the Route the owner, so that deleting it deletes the sandbox. blockOwnerDeletion
// is not set: it needs permission for the Route's finalizers.
func (in Input) ownerReferences() []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: routev1.GroupVersion.String(), Kind: "Route", Name: in.Route.Name, UID: in.Route.UID,
	}}
}

// OwnedBy returns owner references by which the garbage collector deletes an object with the sandbox's
// Service. The guard then needs no permission to delete it.
func OwnedBy(service *corev1.Service) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID}}
}

// withSession returns a copy of set with the session's label.
func withSession(set map[string]string, id string) map[string]string {
	out := map[string]string{record.Label: id}
	for k, v := range set {
		out[k] = v
	}
	return out
}
