// Package workload finds the program behind a Route: the primary Service, its pods, their controller,
// and the pod template that the running pods were created from, which is not always the newest one.
package workload

import (
	"fmt"
	"sort"
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
	Ready       int            // number of ready pods of the Service
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

// Find returns the program behind the Route's primary Service, of the ready pod that is first by name.
// If several controllers have pods behind the Service, workload (kind/name, "" for any) selects one.
// Errors about the Route or its pods have a reason, such as NoReadyPod or OtherWorkload.
func Find(r *routev1.Route, ns *Namespace, workload string) (*Program, error) {
	service := ns.Service(r.Spec.To.Name)
	if service == nil {
		return nil, reason.New(reason.ServiceMissing, "namespace", r.Namespace, "route", r.Name, "service", r.Spec.To.Name)
	}
	if len(service.Spec.Selector) == 0 {
		return nil, reason.New(reason.ServiceWithoutSelector, "namespace", r.Namespace, "route", r.Name, "service", service.Name)
	}
	var ready []corev1.Pod
	for _, pod := range ns.Behind(service.Name) {
		if IsReady(&pod) {
			ready = append(ready, pod)
		}
	}
	if len(ready) == 0 {
		return nil, reason.New(reason.NoReadyPod, "namespace", r.Namespace, "route", r.Name, "service", service.Name)
	}
	sort.Slice(ready, func(i, j int) bool { return ready[i].Name < ready[j].Name })
	var others []string
	for _, pod := range ready {
		program, err := ns.programOf(pod)
		if err != nil {
			return nil, fmt.Errorf("route %s/%s: %w", r.Namespace, r.Name, err)
		}
		if workload != "" && !program.Is(workload) {
			others = append(others, program.String())
			continue
		}
		program.Ready = len(ready)
		return program, nil
	}
	sort.Strings(others)
	return nil, reason.New(reason.OtherWorkload, "namespace", r.Namespace, "route", r.Name, "service", service.Name, "others", strings.Join(unique(others), ", "), "workload", workload)
}

// shortKinds maps kubectl's short and plural names of the kinds that can be cloned to kinds.
var shortKinds = map[string]string{
	"deploy": "deployment", "deployments": "deployment", "rs": "replicaset", "replicasets": "replicaset",
	"sts": "statefulset", "statefulsets": "statefulset", "ds": "daemonset", "daemonsets": "daemonset",
	"rc": "replicationcontroller", "replicationcontrollers": "replicationcontroller",
	"dc": "deploymentconfig", "deploymentconfigs": "deploymentconfig", "po": "pod", "pods": "pod",
}

// Is reports whether workload, kind/name in any form that kubectl accepts, is this program.
func (p *Program) Is(workload string) bool {
	kind, name, _ := strings.Cut(workload, "/")
	kind = strings.ToLower(kind)
	if long, ok := shortKinds[kind]; ok {
		kind = long
	}
	return kind == strings.ToLower(p.Kind) && name == p.Name
}

// unique returns a sorted list without duplicates.
func unique(sorted []string) []string {
	var out []string
	for i, s := range sorted {
		if i == 0 || s != sorted[i-1] {
			out = append(out, s)
		}
	}
	return out
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
