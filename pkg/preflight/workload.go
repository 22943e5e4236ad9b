package preflight

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Unclonable says why a program can't, or must not, run a second time in a sandbox; emptied
// are the volumes that the sandbox gets without their contents.
func Unclonable(p *workload.Program, ns *workload.Namespace, emptied []string) error {
	refuse := func(why, mend string) error {
		return &Refusal{Check: "workload", Cause: fmt.Errorf("%s: %s", p, why), Mend: mend}
	}
	spec := p.Spec
	if p.Gateway != "" {
		return refuse("is "+p.Gateway+"'s own proxy, with no program beside it", "debug a workload behind it, by a Route of that one's own")
	}
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
		case !shared(claim, v):
			return refuse(fmt.Sprintf("claim %s (volume %s) is %s: it can't be mounted beside the pod that has it", name, v.Name, modes(claim)), instead)
		case slices.Contains(p.MembersVolumes, v.Name) && writable(p, v):
			return refuse(fmt.Sprintf("claim %s (volume %s) has the data of member %s alone: a second program that writes there would destroy it", name, v.Name, p.Live.Name), instead)
		}
	}
	return nil
}

// Risks are what makes a clone do harm, or not do its work, with some programs but not with
// others, which only the user can tell: refusals without --force.
func Risks(p *workload.Program, ns *workload.Namespace, emptied []string) (out []error) {
	risk := func(why, mend string) {
		out = append(out, &Refusal{Check: "workload", Cause: fmt.Errorf("%s: %s", p, why), Mend: mend})
	}
	for _, v := range p.Spec.Volumes {
		claim := v.PersistentVolumeClaim
		if claim == nil || slices.Contains(emptied, v.Name) || !writable(p, v) || len(ns.Mounting(claim.ClaimName)) > 1 {
			continue
		}
		risk(fmt.Sprintf("claim %s (volume %s) is written by one pod only, and would be by the sandbox too: programs that don't expect that, as databases, lose data", claim.ClaimName, v.Name),
			fmt.Sprintf("--empty-volume %s gives the sandbox an empty one instead; --force shares it, for programs that may run twice on it", v.Name))
	}
	if networks := secondaryNetworks(p.Annotations); networks != "" {
		risk("its pods have secondary networks ("+networks+"), which a sandbox does not get", "what it reaches by them fails in the sandbox; --force if users can do without")
	}
	return out
}

// secondaryNetworks are those that a pod asks of Multus, but for the one by which Istio's
// CNI plugin hooks in.
func secondaryNetworks(annotations map[string]string) string {
	text := annotations["k8s.v1.cni.cncf.io/networks"]
	networks := strings.Split(text, ",")
	var elements []struct{ Name string }
	if json.Unmarshal([]byte(text), &elements) == nil { // the long form
		networks = nil
		for _, e := range elements {
			networks = append(networks, e.Name)
		}
	}
	networks = slices.DeleteFunc(networks, func(n string) bool {
		n = n[strings.LastIndex(n, "/")+1:]
		return strings.TrimSpace(n) == "" || strings.TrimSpace(n) == "istio-cni"
	})
	return strings.Join(networks, ", ")
}

// writable says whether a container of a program mounts a volume to write.
func writable(p *workload.Program, v corev1.Volume) bool {
	if c := v.PersistentVolumeClaim; c != nil && c.ReadOnly {
		return false
	}
	writes := func(c corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name && !m.ReadOnly })
	}
	return slices.ContainsFunc(p.Spec.Containers, writes) || slices.ContainsFunc(p.Spec.InitContainers, writes)
}

// What the sandbox policy lets a sandbox have: see manifests/policy and manifests/scc.
var ordinaryResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

const ordinaryVolumes = "configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected, secret"

func ordinaryVolume(v corev1.Volume) bool {
	return v.ConfigMap != nil || v.CSI != nil || v.DownwardAPI != nil || v.EmptyDir != nil || v.Ephemeral != nil ||
		v.PersistentVolumeClaim != nil || v.Projected != nil || v.Secret != nil
}

// shared says whether a claim may be mounted on several nodes at once as a volume does it.
func shared(c *corev1.PersistentVolumeClaim, v corev1.Volume) bool {
	alone := func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadWriteOnce || m == corev1.ReadWriteOncePod
	}
	readOnly := v.PersistentVolumeClaim.ReadOnly || !slices.ContainsFunc(c.Spec.AccessModes, alone)
	return slices.Contains(c.Spec.AccessModes, corev1.ReadWriteMany) || readOnly && slices.Contains(c.Spec.AccessModes, corev1.ReadOnlyMany)
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
