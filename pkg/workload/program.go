// Package workload finds the program behind a Route: primary Service, its pods, their
// controller, and the pod template that the live pods really run, which is not always
// the newest one.
package workload

import (
	"fmt"
	"sort"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Program is what a sandbox clones.
type Program struct {
	Kind, Name  string // of the top controller, or Pod
	Labels      map[string]string
	Annotations map[string]string
	Spec        corev1.PodSpec // of the live pod's own revision
	Live        corev1.Pod     // a ready pod: effective security context, image digests
	Ready       int            // ready pods of the Service
	// Mesh is the service mesh whose proxy was injected into the live pod, "" for none.
	// Spec has nothing of it.
	Mesh string
	// Gateway is the service mesh whose proxy is all that runs in the live pod, "" for none.
	Gateway string
	// MembersVolumes are those that the live pod has as a StatefulSet's member: what is in
	// them is this member's alone.
	MembersVolumes []string
	// Adopts says that the controller is of a kind whose selectors are not known: with
	// any of its labels the sandbox might be taken for one of its pods.
	Adopts bool
}

// String is kind/name, as kubectl writes it.
func (p *Program) String() string { return strings.ToLower(p.Kind) + "/" + p.Name }

// Find picks the live program behind a Service from what the namespace holds. Among
// ready pods the first by name is taken. workload, KIND/NAME, must name the program's
// controller when given: of pods of several controllers it picks those of one.
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
		program, err := ns.program(pod)
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
	return nil, reason.New(reason.OtherWorkload, "namespace", r.Namespace, "route", r.Name, "service", service.Name, "others", strings.Join(compact(others), ", "), "workload", workload)
}

// shortKinds are kubectl's short names of the kinds that can be cloned.
var shortKinds = map[string]string{
	"deploy": "deployment", "deployments": "deployment", "rs": "replicaset", "replicasets": "replicaset",
	"sts": "statefulset", "statefulsets": "statefulset", "ds": "daemonset", "daemonsets": "daemonset",
	"rc": "replicationcontroller", "replicationcontrollers": "replicationcontroller",
	"dc": "deploymentconfig", "deploymentconfigs": "deploymentconfig", "po": "pod", "pods": "pod",
}

// Is says whether KIND/NAME, as kubectl takes it, names this program.
func (p *Program) Is(workload string) bool {
	kind, name, _ := strings.Cut(workload, "/")
	kind = strings.ToLower(kind)
	if long, ok := shortKinds[kind]; ok {
		kind = long
	}
	return kind == strings.ToLower(p.Kind) && name == p.Name
}

func compact(sorted []string) []string {
	var out []string
	for i, s := range sorted {
		if i == 0 || s != sorted[i-1] {
			out = append(out, s)
		}
	}
	return out
}

// IsReady says whether a pod is ready and stays so.
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
