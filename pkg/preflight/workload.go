package preflight

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Unclonable returns an error with a reason if a program cannot, or must not, run a second time in a
// sandbox. emptied names the volumes that are empty in the sandbox.
func Unclonable(p *workload.Program, ns *workload.Namespace, emptied []string) error {
	spec := p.Spec
	if p.Gateway != "" {
		return reason.New(reason.GatewayProxy, "workload", p, "mesh", p.Gateway)
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		return reason.New(reason.HostNamespaces, "workload", p)
	}
	if spec.OS != nil && spec.OS.Name != corev1.Linux {
		return reason.New(reason.NotLinux, "workload", p, "os", string(spec.OS.Name))
	}
	if len(spec.ResourceClaims) > 0 {
		return reason.New(reason.ResourceClaims, "workload", p, "claim", spec.ResourceClaims[0].Name)
	}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		if len(c.VolumeDevices) > 0 {
			return reason.New(reason.RawDeviceVolume, "workload", p, "container", c.Name)
		}
		for name := range c.Resources.Limits {
			if !slices.Contains(allowedResources, name) {
				return reason.New(reason.ExtendedResource, "workload", p, "container", c.Name, "resource", name)
			}
		}
	}
	for _, v := range spec.Volumes {
		if slices.Contains(emptied, v.Name) {
			continue
		}
		if v.HostPath != nil {
			return reason.New(reason.HostPathVolume, "workload", p, "path", v.HostPath.Path, "volume", v.Name)
		}
		if !isAllowedVolume(v) {
			return reason.New(reason.VolumeKindUnsupported, "workload", p, "volume", v.Name, "kinds", allowedVolumeKinds)
		}
		if v.PersistentVolumeClaim == nil {
			continue
		}
		name := v.PersistentVolumeClaim.ClaimName
		switch claim := ns.Claim(name); {
		case claim == nil:
			return reason.New(reason.ClaimUnreadable, "workload", p, "claim", name, "volume", v.Name)
		case !isShareable(claim, v):
			return reason.New(reason.ClaimInUse, "workload", p, "claim", name, "volume", v.Name, "modes", accessModes(claim))
		case slices.Contains(p.MemberVolumes, v.Name) && mountsWritable(&p.Spec, v):
			return reason.New(reason.ClaimOfMember, "workload", p, "claim", name, "volume", v.Name, "member", p.Live.Name)
		}
	}
	return nil
}

// allowedResources are those that the sandbox policy allows (manifests/policy).
var allowedResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// allowedVolumeKinds are those that the sandbox policy and the SCC allow (manifests/policy,
// manifests/scc).
const allowedVolumeKinds = "configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected, secret"

func isAllowedVolume(v corev1.Volume) bool {
	return v.ConfigMap != nil || v.CSI != nil || v.DownwardAPI != nil || v.EmptyDir != nil || v.Ephemeral != nil ||
		v.PersistentVolumeClaim != nil || v.Projected != nil || v.Secret != nil
}

// isShareable reports whether the claim of volume v can be mounted on several nodes at once.
func isShareable(c *corev1.PersistentVolumeClaim, v corev1.Volume) bool {
	singleNode := func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadWriteOnce || m == corev1.ReadWriteOncePod
	}
	readOnly := v.PersistentVolumeClaim.ReadOnly || !slices.ContainsFunc(c.Spec.AccessModes, singleNode)
	return slices.Contains(c.Spec.AccessModes, corev1.ReadWriteMany) || readOnly && slices.Contains(c.Spec.AccessModes, corev1.ReadOnlyMany)
}

func accessModes(c *corev1.PersistentVolumeClaim) (out string) {
	for i, m := range c.Spec.AccessModes {
		if i > 0 {
			out += ", "
		}
		out += string(m)
	}
	return out
}
