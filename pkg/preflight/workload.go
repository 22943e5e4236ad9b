package preflight

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Unclonable says why a program can't run in a sandbox; emptied are the volumes that the
// sandbox gets without their contents.
func Unclonable(p *workload.Program, ns *workload.Namespace, emptied []string) error {
	refuse := func(why, mend string) error {
		return &Refusal{Check: "workload", Cause: fmt.Errorf("%s: %s", p, why), Mend: mend}
	}
	spec := p.Spec
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		return refuse("uses the node's network, PID or IPC namespace, which a sandbox VM does not have", "debug it without hostNetwork, hostPID and hostIPC")
	}
	if len(spec.ResourceClaims) > 0 {
		return refuse("claims devices of the node ("+spec.ResourceClaims[0].Name+"), which a sandbox VM does not have", "debug it without resourceClaims")
	}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		if len(c.VolumeDevices) > 0 {
			return refuse("container "+c.Name+" uses a volume as a raw device", "debug it without volumeDevices")
		}
		for name := range c.Resources.Limits {
			if !slices.Contains(ordinaryResources, name) {
				return refuse(fmt.Sprintf("container %s asks for %s, a device of the node which a sandbox VM does not have", c.Name, name), "debug it on a replica without")
			}
		}
	}
	for _, v := range spec.Volumes {
		if slices.Contains(emptied, v.Name) {
			continue
		}
		instead := fmt.Sprintf("--empty-volume %s gives the sandbox an empty one instead", v.Name)
		if v.HostPath != nil {
			return refuse("mounts the node's "+v.HostPath.Path+" (volume "+v.Name+"): the VM would share it read-write with its node", instead)
		}
		if !ordinaryVolume(v) {
			return refuse("volume "+v.Name+" is of a kind that sandboxes may not mount (they may: "+ordinaryVolumes+")", instead)
		}
		if v.PersistentVolumeClaim == nil {
			continue
		}
		name := v.PersistentVolumeClaim.ClaimName
		switch claim := ns.Claim(name); {
		case claim == nil:
			return refuse(fmt.Sprintf("claim %s (volume %s) can't be read: whether a second pod may mount it is not known", name, v.Name), instead)
		case !shared(claim):
			return refuse(fmt.Sprintf("claim %s (volume %s) is %s: it can't be mounted beside the pod that has it", name, v.Name, modes(claim)), instead)
		}
	}
	return nil
}

// What the sandbox policy lets a sandbox have: see manifests/policy and manifests/scc.
var ordinaryResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

const ordinaryVolumes = "configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected, secret"

func ordinaryVolume(v corev1.Volume) bool {
	return v.ConfigMap != nil || v.CSI != nil || v.DownwardAPI != nil || v.EmptyDir != nil || v.Ephemeral != nil ||
		v.PersistentVolumeClaim != nil || v.Projected != nil || v.Secret != nil
}

// shared says whether a claim may be mounted on several nodes at once.
func shared(c *corev1.PersistentVolumeClaim) bool {
	return slices.Contains(c.Spec.AccessModes, corev1.ReadWriteMany) || slices.Contains(c.Spec.AccessModes, corev1.ReadOnlyMany)
}

func modes(c *corev1.PersistentVolumeClaim) (out string) {
	for i, m := range c.Spec.AccessModes {
		if i > 0 {
			out += ", "
		}
		out += string(m)
	}
	return out
}
