package workload

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// withoutAdmission returns a copy of a pod's spec without what the scheduler and admission added: the
// node, the priority, and the volume with the ServiceAccount's token.
func withoutAdmission(spec corev1.PodSpec) corev1.PodSpec {
	out := *spec.DeepCopy()
	out.NodeName, out.EphemeralContainers, out.Overhead = "", nil, nil
	out.PriorityClassName, out.Priority, out.PreemptionPolicy = "", nil, nil
	dropVolumes(&out, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, "kube-api-access-") && v.Projected != nil })
	return out
}

// dropVolumes removes the volumes for which drop is true, and their mounts in all containers.
func dropVolumes(spec *corev1.PodSpec, drop func(corev1.Volume) bool) {
	dropped := map[string]bool{}
	var volumes []corev1.Volume
	for _, v := range spec.Volumes {
		if drop(v) {
			dropped[v.Name] = true
			continue
		}
		volumes = append(volumes, v)
	}
	spec.Volumes = volumes
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			var mounts []corev1.VolumeMount
			for _, m := range list[i].VolumeMounts {
				if !dropped[m.Name] {
					mounts = append(mounts, m)
				}
			}
			list[i].VolumeMounts = mounts
		}
	}
}
