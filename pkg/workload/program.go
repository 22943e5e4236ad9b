// Package workload finds the program behind a Route: the primary Service, its pods, their controller,
// and the pod template that the running pods were created from, which is not always the newest one.
package workload

import (
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Program is the workload that a sandbox clones.
type Program struct {
	Kind, Name  string // of the top controller, or of the pod if it has none
	Labels      map[string]string
	Annotations map[string]string
	Spec        corev1.PodSpec // of the live pod's revision
	Live        corev1.Pod     // a ready pod: its effective security context and image digests are cloned
	Ready       int            // number of its pods that are endpoints of the Route
	// Mesh is the service mesh whose proxy was injected into the live pod, "" for none. The proxy is
	// not part of Spec.
	Mesh string
	// Gateway is the service mesh whose proxy is all that runs in the live pod, "" for none.
	Gateway string
	// MemberVolumes names the volumes that the live pod has as a member of a StatefulSet. Their
	// contents belong to this member only.
	MemberVolumes []string
	// UnknownSelectors is set if the controller is of a kind whose selectors are not known. With any of
	// the pod's labels, the controller might adopt the sandbox.
	UnknownSelectors bool
}

// String returns kind/name with the kind in lower case, as kubectl prints it.
func (p *Program) String() string { return strings.ToLower(p.Kind) + "/" + p.Name }

// Find returns the program whose pods are the Route's endpoints of the primary Service, with the pod that is
// first by name as the live one. If pods of several programs are endpoints, workload (kind/name, "" for none)
// selects one. Pods that the Service selects without being endpoints, such as those of a Job without the
// Route's port, are no candidates. Errors about the Route or its pods have a reason, such as NoReadyPod,
// SeveralWorkloads or OtherWorkload.
func Find(r *routev1.Route, ns *Namespace, workload string) (*Program, error) {
	service := ns.Service(r.Spec.To.Name)
	if service == nil {
		return nil, reason.New(reason.ServiceMissing, "namespace", r.Namespace, "route", r.Name, "service", r.Spec.To.Name)
	}
	if len(service.Spec.Selector) == 0 {
		return nil, reason.New(reason.ServiceWithoutSelector, "namespace", r.Namespace, "route", r.Name, "service", service.Name)
	}
	candidates := ns.candidates(r, service.Name)
	switch {
	case len(candidates) == 0:
		return nil, reason.New(reason.NoReadyPod, "namespace", r.Namespace, "route", r.Name, "service", service.Name)
	case workload == "" && len(candidates) > 1:
		return nil, reason.New(reason.SeveralWorkloads, "namespace", r.Namespace, "route", r.Name, "service", service.Name, "workloads", describe(candidates), "most", most(candidates).name)
	case workload == "":
		return candidates[0].program(r)
	}
	for _, c := range candidates {
		if isNamed(workload, c.kind, c.of) {
			return c.program(r)
		}
	}
	return nil, reason.New(reason.OtherWorkload, "namespace", r.Namespace, "route", r.Name, "service", service.Name, "others", describe(candidates), "workload", workload)
}

// shortKinds maps kubectl's short and plural names of the kinds that can be cloned to kinds.
var shortKinds = map[string]string{
	"deploy": "deployment", "deployments": "deployment", "rs": "replicaset", "replicasets": "replicaset",
	"sts": "statefulset", "statefulsets": "statefulset", "ds": "daemonset", "daemonsets": "daemonset",
	"rc": "replicationcontroller", "replicationcontrollers": "replicationcontroller",
	"dc": "deploymentconfig", "deploymentconfigs": "deploymentconfig", "po": "pod", "pods": "pod",
}

// isNamed reports whether workload, kind/name in any form that kubectl accepts, is the one of this kind and name.
func isNamed(workload, kind, name string) bool {
	k, n, _ := strings.Cut(workload, "/")
	k = strings.ToLower(k)
	if long, ok := shortKinds[k]; ok {
		k = long
	}
	return k == strings.ToLower(kind) && n == name
}

// IsReady reports whether a pod is ready and not being deleted.
func IsReady(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
