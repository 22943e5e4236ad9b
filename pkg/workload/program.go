// Package workload finds the program behind a Route: primary Service, its pods, their
// controller, and the pod template that the live pods really run, which is not always
// the newest one.
package workload

import (
	"fmt"
	"sort"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Program is what a sandbox clones.
type Program struct {
	Kind, Name  string // Deployment or Pod
	Labels      map[string]string
	Annotations map[string]string
	Spec        corev1.PodSpec // of the live pod's own revision
	Live        corev1.Pod     // a ready pod: effective security context, image digests
	Ready       int            // ready pods of the Service
}

// String is kind/name, as kubectl writes it.
func (p *Program) String() string { return strings.ToLower(p.Kind) + "/" + p.Name }

// Find picks the live program behind a Service from what the namespace holds. Among
// ready pods the first by name is taken. workload, KIND/NAME, must name the program's
// controller when given.
func Find(r *routev1.Route, ns *Namespace, workload string) (*Program, error) {
	where := "route " + r.Namespace + "/" + r.Name
	service := ns.Service(r.Spec.To.Name)
	if service == nil {
		return nil, fmt.Errorf("%s: its Service %s does not exist: create it, or correct spec.to.name", where, r.Spec.To.Name)
	}
	if len(service.Spec.Selector) == 0 {
		return nil, fmt.Errorf("%s: Service %s has no selector, so there is no workload to clone", where, service.Name)
	}
	selector := labels.SelectorFromSet(service.Spec.Selector)
	var ready []corev1.Pod
	for _, pod := range ns.Pods {
		if selector.Matches(labels.Set(pod.Labels)) && isReady(&pod) {
			ready = append(ready, pod)
		}
	}
	if len(ready) == 0 {
		return nil, fmt.Errorf("%s: Service %s has no ready pod: a session clones a running program", where, service.Name)
	}
	sort.Slice(ready, func(i, j int) bool { return ready[i].Name < ready[j].Name })
	program, err := ns.program(ready[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	program.Ready = len(ready)
	if workload != "" && !strings.EqualFold(workload, program.String()) {
		return nil, fmt.Errorf("%s: the pods of Service %s belong to %s, not to %s", where, service.Name, program, workload)
	}
	return program, nil
}

func isReady(pod *corev1.Pod) bool {
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

// program follows a pod's owners to the template it was made from.
func (ns *Namespace) program(pod corev1.Pod) (*Program, error) {
	owner := metav1.GetControllerOf(&pod)
	if owner == nil {
		return &Program{Kind: "Pod", Name: pod.Name, Labels: pod.Labels, Annotations: pod.Annotations, Spec: bare(pod.Spec), Live: pod}, nil
	}
	if owner.Kind != "ReplicaSet" {
		return nil, fmt.Errorf("pod %s belongs to a %s: only Deployments, their ReplicaSets and bare pods can be cloned yet", pod.Name, owner.Kind)
	}
	rs := ns.replicaSet(owner)
	if rs == nil {
		return nil, fmt.Errorf("pod %s: its ReplicaSet %s is gone", pod.Name, owner.Name)
	}
	p := &Program{
		Kind: "ReplicaSet", Name: rs.Name, Labels: rs.Spec.Template.Labels, Annotations: rs.Spec.Template.Annotations,
		Spec: *rs.Spec.Template.Spec.DeepCopy(), Live: pod,
	}
	if top := metav1.GetControllerOf(rs); top != nil {
		if top.Kind != "Deployment" {
			return nil, fmt.Errorf("pod %s belongs to a %s: only Deployments, their ReplicaSets and bare pods can be cloned yet", pod.Name, top.Kind)
		}
		p.Kind, p.Name = top.Kind, top.Name
	}
	return p, nil
}

func (ns *Namespace) replicaSet(owner *metav1.OwnerReference) *appsv1.ReplicaSet {
	for i := range ns.ReplicaSets {
		if ns.ReplicaSets[i].UID == owner.UID {
			return &ns.ReplicaSets[i]
		}
	}
	return nil
}

// bare takes out of a pod's own spec what admission put in: the token volume that
// every pod gets, the node, the priority of a class.
func bare(spec corev1.PodSpec) corev1.PodSpec {
	out := *spec.DeepCopy()
	injected := map[string]bool{}
	var volumes []corev1.Volume
	for _, v := range out.Volumes {
		if strings.HasPrefix(v.Name, "kube-api-access-") && v.Projected != nil {
			injected[v.Name] = true
			continue
		}
		volumes = append(volumes, v)
	}
	out.Volumes = volumes
	for _, list := range [][]corev1.Container{out.InitContainers, out.Containers} {
		for i := range list {
			var mounts []corev1.VolumeMount
			for _, m := range list[i].VolumeMounts {
				if !injected[m.Name] {
					mounts = append(mounts, m)
				}
			}
			list[i].VolumeMounts = mounts
		}
	}
	out.NodeName, out.EphemeralContainers, out.Overhead = "", nil, nil
	out.PriorityClassName, out.Priority, out.PreemptionPolicy = "", nil, nil
	return out
}
