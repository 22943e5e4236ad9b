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

// Kinds that need special treatment.
const (
	kindPod                   = "Pod"
	kindDeployment            = "Deployment"
	kindReplicaSet            = "ReplicaSet"
	kindReplicationController = "ReplicationController"
	kindStatefulSet           = "StatefulSet"
	kindDaemonSet             = "DaemonSet"
	kindJob                   = "Job"
)

// RevisionLabels are the pod labels that identify the revision of the template: of a Deployment, of a
// StatefulSet or DaemonSet, of a DeploymentConfig, of an Argo Rollout.
var RevisionLabels = []string{appsv1.DefaultDeploymentUniqueLabelKey, appsv1.ControllerRevisionHashLabelKey, "deployment", "rollouts-pod-template-hash"}

// programOf follows a pod's owners to the template that the pod was created from.
func (ns *Namespace) programOf(pod corev1.Pod) (*Program, error) {
	owner := metav1.GetControllerOf(&pod)
	if owner == nil {
		return programFromPod(pod, kindPod, pod.Name), nil
	}
	switch owner.Kind {
	case kindReplicaSet:
		i := slices.IndexFunc(ns.ReplicaSets, func(rs appsv1.ReplicaSet) bool { return rs.UID == owner.UID })
		if i < 0 {
			return nil, reason.New(reason.ReplicaSetGone, "pod", pod.Name, "owner", owner.Name)
		}
		rs := &ns.ReplicaSets[i]
		kind, name := topController(kindReplicaSet, rs)
		if kind == kindReplicaSet {
			// Its template may have changed since the pod was created, and there is no record of it.
			return programFromPod(pod, kind, name), nil
		}
		return programFromTemplate(pod, kind, name, &rs.Spec.Template), nil
	case kindReplicationController:
		i := slices.IndexFunc(ns.ReplicationControllers, func(rc corev1.ReplicationController) bool { return rc.UID == owner.UID })
		if i < 0 || ns.ReplicationControllers[i].Spec.Template == nil {
			return nil, reason.New(reason.ReplicationControllerGone, "pod", pod.Name, "owner", owner.Name)
		}
		rc := &ns.ReplicationControllers[i]
		kind, name := topController(kindReplicationController, rc)
		if kind == kindReplicationController {
			// Its template may have changed since the pod was created, and there is no record of it.
			return programFromPod(pod, kind, name), nil
		}
		return programFromTemplate(pod, kind, name, rc.Spec.Template), nil
	case kindStatefulSet, kindDaemonSet:
		template, err := ns.revisionTemplate(pod, owner)
		if err != nil {
			return nil, err
		}
		return programFromTemplate(pod, owner.Kind, owner.Name, template), nil
	case kindJob:
		return nil, reason.New(reason.JobPods, "pod", pod.Name, "job", owner.Name)
	}
	p := programFromPod(pod, owner.Kind, owner.Name)
	p.UnknownSelectors = true
	return p, nil
}

// programFromPod returns the program of a pod whose template is not known.
func programFromPod(pod corev1.Pod, kind, name string) *Program {
	p := &Program{Kind: kind, Name: name, Labels: pod.Labels, Annotations: pod.Annotations, Spec: withoutAdmission(pod.Spec), Live: pod}
	p.removeMesh()
	return p
}

// programFromTemplate returns the program of a pod that was created from template.
func programFromTemplate(pod corev1.Pod, kind, name string, template *corev1.PodTemplateSpec) *Program {
	p := &Program{Kind: kind, Name: name, Labels: template.Labels, Annotations: template.Annotations, Spec: *template.Spec.DeepCopy(), Live: pod}
	undeclared := undeclaredVolumes(p.Spec, pod.Spec)
	p.Spec.Volumes = append(p.Spec.Volumes, undeclared...)
	if kind == kindStatefulSet {
		for _, v := range undeclared {
			p.MemberVolumes = append(p.MemberVolumes, v.Name)
		}
	}
	p.removeMesh()
	return p
}

// topController returns kind and name of the controller of o, or of o itself if it has none.
func topController(kind string, o metav1.Object) (string, string) {
	if c := metav1.GetControllerOf(o); c != nil {
		return c.Kind, c.Name
	}
	return kind, o.GetName()
}

// undeclaredVolumes returns the volumes that the template mounts but does not declare: a StatefulSet's
// claims, which only its pods declare.
func undeclaredVolumes(template, live corev1.PodSpec) []corev1.Volume {
	var out []corev1.Volume
	for _, v := range live.Volumes {
		declared := slices.ContainsFunc(template.Volumes, func(t corev1.Volume) bool { return t.Name == v.Name })
		mounts := func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name }) ||
				slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == v.Name })
		}
		if !declared && (slices.ContainsFunc(template.Containers, mounts) || slices.ContainsFunc(template.InitContainers, mounts)) {
			out = append(out, v)
		}
	}
	return out
}

// revisionTemplate returns the template in the ControllerRevision that a pod was created from. The
// label of a StatefulSet's pod holds the revision's name, that of a DaemonSet's pod only the hash at
// the end of the name.
func (ns *Namespace) revisionTemplate(pod corev1.Pod, owner *metav1.OwnerReference) (*corev1.PodTemplateSpec, error) {
	hash := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	for i := range ns.Revisions {
		rev := &ns.Revisions[i]
		if !isControlledBy(rev, owner.UID) || rev.Name != hash && rev.Name != owner.Name+"-"+hash {
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
			return nil, fmt.Errorf("revision %s of %s %s cannot be read: %w", rev.Name, owner.Kind, owner.Name, err)
		}
		return &data.Spec.Template, nil
	}
	return nil, reason.New(reason.RevisionGone, "pod", pod.Name, "revision", hash, "owner", owner.Kind+" "+owner.Name)
}

func isControlledBy(o metav1.Object, uid types.UID) bool {
	c := metav1.GetControllerOf(o)
	return c != nil && c.UID == uid
}

// Workloads returns the workloads of the namespace's pods that can be cloned, sorted, each as
// kind/name with the kind in lower case.
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
			if p, err := ns.programOf(pod); err == nil {
				out = append(out, p.String())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
