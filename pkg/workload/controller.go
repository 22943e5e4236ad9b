package workload

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Kinds of controllers that need treatment of their own.
const (
	kindPod                   = "Pod"
	kindDeployment            = "Deployment"
	kindReplicaSet            = "ReplicaSet"
	kindReplicationController = "ReplicationController"
	kindStatefulSet           = "StatefulSet"
	kindDaemonSet             = "DaemonSet"
	kindJob                   = "Job"
)

// RevisionLabels tell the revision of its template that a pod was made from: a Deployment's,
// a StatefulSet's or DaemonSet's, a DeploymentConfig's, an Argo Rollout's.
var RevisionLabels = []string{appsv1.DefaultDeploymentUniqueLabelKey, appsv1.ControllerRevisionHashLabelKey, "deployment", "rollouts-pod-template-hash"}

// program follows a pod's owners to the template it was made from.
func (ns *Namespace) program(pod corev1.Pod) (*Program, error) {
	owner := metav1.GetControllerOf(&pod)
	if owner == nil {
		return ownProgram(pod, kindPod, pod.Name), nil
	}
	switch owner.Kind {
	case kindReplicaSet:
		i := slices.IndexFunc(ns.ReplicaSets, func(rs appsv1.ReplicaSet) bool { return rs.UID == owner.UID })
		if i < 0 {
			return nil, reason.New(reason.ReplicaSetGone, "pod", pod.Name, "owner", owner.Name)
		}
		rs := &ns.ReplicaSets[i]
		kind, name := top(kindReplicaSet, rs)
		if kind == kindReplicaSet {
			// Its template may have changed since, and nothing tells.
			return ownProgram(pod, kind, name), nil
		}
		return fromTemplate(pod, kind, name, &rs.Spec.Template), nil
	case kindReplicationController:
		i := slices.IndexFunc(ns.ReplicationControllers, func(rc corev1.ReplicationController) bool { return rc.UID == owner.UID })
		if i < 0 || ns.ReplicationControllers[i].Spec.Template == nil {
			return nil, reason.New(reason.ReplicationControllerGone, "pod", pod.Name, "owner", owner.Name)
		}
		rc := &ns.ReplicationControllers[i]
		kind, name := top(kindReplicationController, rc)
		if kind == kindReplicationController {
			// Its template may have changed since, and nothing tells.
			return ownProgram(pod, kind, name), nil
		}
		return fromTemplate(pod, kind, name, rc.Spec.Template), nil
	case kindStatefulSet, kindDaemonSet:
		template, err := ns.revision(pod, owner)
		if err != nil {
			return nil, err
		}
		return fromTemplate(pod, owner.Kind, owner.Name, template), nil
	case kindJob:
		return nil, reason.New(reason.JobPods, "pod", pod.Name, "job", owner.Name)
	}
	p := ownProgram(pod, owner.Kind, owner.Name)
	p.Adopts = true
	return p, nil
}

// ownProgram is a program known from its pod alone.
func ownProgram(pod corev1.Pod, kind, name string) *Program {
	p := &Program{Kind: kind, Name: name, Labels: pod.Labels, Annotations: pod.Annotations, Spec: bare(pod.Spec), Live: pod}
	p.leaveMesh()
	return p
}

// fromTemplate is a program known from the template that its pod was made from.
func fromTemplate(pod corev1.Pod, kind, name string, template *corev1.PodTemplateSpec) *Program {
	p := &Program{Kind: kind, Name: name, Labels: template.Labels, Annotations: template.Annotations, Spec: *template.Spec.DeepCopy(), Live: pod}
	unnamed := unnamedVolumes(p.Spec, pod.Spec)
	p.Spec.Volumes = append(p.Spec.Volumes, unnamed...)
	if kind == kindStatefulSet {
		for _, v := range unnamed {
			p.MembersVolumes = append(p.MembersVolumes, v.Name)
		}
	}
	p.leaveMesh()
	return p
}

// top is the controller of a controller where it has one, else the controller itself.
func top(kind string, o metav1.Object) (string, string) {
	if c := metav1.GetControllerOf(o); c != nil {
		return c.Kind, c.Name
	}
	return kind, o.GetName()
}

// unnamedVolumes are those that the template mounts but does not have: a StatefulSet's
// claims, which only its pods name.
func unnamedVolumes(template, live corev1.PodSpec) []corev1.Volume {
	var out []corev1.Volume
	for _, v := range live.Volumes {
		has := slices.ContainsFunc(template.Volumes, func(t corev1.Volume) bool { return t.Name == v.Name })
		mounts := func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name }) ||
				slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == v.Name })
		}
		if !has && (slices.ContainsFunc(template.Containers, mounts) || slices.ContainsFunc(template.InitContainers, mounts)) {
			out = append(out, v)
		}
	}
	return out
}

// revision is the template of the ControllerRevision that a pod was made from. A
// StatefulSet's pods name it, a DaemonSet's pods name the hash at its end.
func (ns *Namespace) revision(pod corev1.Pod, owner *metav1.OwnerReference) (*corev1.PodTemplateSpec, error) {
	hash := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	for i := range ns.Revisions {
		rev := &ns.Revisions[i]
		if !ownedBy(rev, owner.UID) || rev.Name != hash && rev.Name != owner.Name+"-"+hash {
			continue
		}
		// Both controllers store the template as a patch of their spec
		// (k8s.io/kubernetes/pkg/controller/history).
		var data struct {
			Spec struct {
				Template corev1.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		}
		if err := json.Unmarshal(rev.Data.Raw, &data); err != nil {
			return nil, fmt.Errorf("revision %s of %s %s can't be read: %w", rev.Name, owner.Kind, owner.Name, err)
		}
		return &data.Spec.Template, nil
	}
	return nil, reason.New(reason.RevisionGone, "pod", pod.Name, "revision", hash, "owner", owner.Kind+" "+owner.Name)
}

func ownedBy(o metav1.Object, uid types.UID) bool {
	c := metav1.GetControllerOf(o)
	return c != nil && c.UID == uid
}

// Workloads names, as KIND/NAME, the programs of all pods of the namespace that can be
// cloned.
func (ns *Namespace) Workloads() []string {
	var out []string
	for _, pod := range ns.Pods {
		owner := metav1.GetControllerOf(&pod)
		switch {
		case owner == nil:
			out = append(out, "pod/"+pod.Name)
		case owner.Kind == kindStatefulSet || owner.Kind == kindDaemonSet:
			out = append(out, strings.ToLower(owner.Kind)+"/"+owner.Name)
		default:
			if p, err := ns.program(pod); err == nil {
				out = append(out, p.String())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
