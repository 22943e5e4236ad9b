package workload

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// bare takes out of a pod's own spec what admission put in: the token volume that
// every pod gets, the node, the priority of a class.
func bare(spec corev1.PodSpec) corev1.PodSpec {
	out := *spec.DeepCopy()
	out.NodeName, out.EphemeralContainers, out.Overhead = "", nil, nil
	out.PriorityClassName, out.Priority, out.PreemptionPolicy = "", nil, nil
	dropVolumes(&out, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, "kube-api-access-") && v.Projected != nil })
	return out
}

// dropVolumes takes volumes out, and their mounts in all containers.
func dropVolumes(spec *corev1.PodSpec, drop func(corev1.Volume) bool) {
	gone := map[string]bool{}
	var volumes []corev1.Volume
	for _, v := range spec.Volumes {
		if drop(v) {
			gone[v.Name] = true
			continue
		}
		volumes = append(volumes, v)
	}
	spec.Volumes = volumes
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			var mounts []corev1.VolumeMount
			for _, m := range list[i].VolumeMounts {
				if !gone[m.Name] {
					mounts = append(mounts, m)
				}
			}
			list[i].VolumeMounts = mounts
		}
	}
}
