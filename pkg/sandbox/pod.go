package sandbox

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Pods returns the sandbox's pods, ready to be created.
func Pods(in Input) []*corev1.Pod {
	kept, _, _ := in.Labels()
	var pods []*corev1.Pod
	for n := range in.Replicas {
		pods = append(pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: record.PodName(in.Session, n), Namespace: in.Route.Namespace,
				Labels: withSession(kept, in.Session), Annotations: in.annotations(), OwnerReferences: in.ownerReferences(),
			},
			Spec: in.podSpec(),
		})
	}
	return pods
}

func (in Input) podSpec() corev1.PodSpec {
	spec := *in.Program.Spec.DeepCopy()
	live := &in.Program.Live
	spec.SecurityContext = live.Spec.SecurityContext.DeepCopy()
	in.pinContainers(spec.Containers, live.Spec.Containers, live.Status.ContainerStatuses)
	in.pinContainers(spec.InitContainers, live.Spec.InitContainers, live.Status.InitContainerStatuses)
	in.emptyVolumes(&spec)
	in.mountOwnCertificate(&spec)
	spec.NodeName, spec.Hostname, spec.Subdomain = "", "", ""
	spec.PriorityClassName, spec.Priority, spec.PreemptionPolicy = "", nil, nil
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.ReadinessGates = nil // their controllers set conditions only on the original's pods
	if spec.Affinity != nil && spec.Affinity.PodAntiAffinity != nil {
		// The scheduler applies the anti-affinity of running pods to new ones, so the original's next
		// pod might find no node.
		spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
	}
	spec.RuntimeClassName = &in.RuntimeClass
	shared, deadline := !in.SeparatePIDs, int64(record.Deadline.Seconds())
	spec.ShareProcessNamespace, spec.ActiveDeadlineSeconds = &shared, &deadline
	spec.TerminationGracePeriodSeconds = shortGrace(spec.TerminationGracePeriodSeconds)
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name: record.Sidecar, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	spec.Containers = append(spec.Containers, in.sidecarContainer())
	return spec
}

// emptyVolumes replaces the volumes in EmptyVolumes with empty ones.
func (in Input) emptyVolumes(spec *corev1.PodSpec) {
	for i, v := range spec.Volumes {
		if slices.Contains(in.EmptyVolumes, v.Name) {
			spec.Volumes[i].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}
	}
}
