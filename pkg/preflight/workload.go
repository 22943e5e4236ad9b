package preflight

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Unclonable says why a program can't, or must not, run a second time in a sandbox; emptied
// are the volumes that the sandbox gets without their contents.
func Unclonable(p *workload.Program, ns *workload.Namespace, emptied []string) error {
	spec := p.Spec
	if p.Gateway != "" {
		return reason.New(reason.GatewayProxy, "workload", p, "mesh", p.Gateway)
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		return reason.New(reason.HostNamespaces, "workload", p)
	}
	if len(spec.ResourceClaims) > 0 {
		return reason.New(reason.ResourceClaims, "workload", p, "claim", spec.ResourceClaims[0].Name)
	}
	for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
		if len(c.VolumeDevices) > 0 {
			return reason.New(reason.RawDeviceVolume, "workload", p, "container", c.Name)
		}
		for name := range c.Resources.Limits {
			if !slices.Contains(ordinaryResources, name) {
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
		if !ordinaryVolume(v) {
			return reason.New(reason.VolumeKindUnsupported, "workload", p, "volume", v.Name, "kinds", ordinaryVolumes)
		}
		if v.PersistentVolumeClaim == nil {
			continue
		}
		name := v.PersistentVolumeClaim.ClaimName
		switch claim := ns.Claim(name); {
		case claim == nil:
			return reason.New(reason.ClaimUnreadable, "workload", p, "claim", name, "volume", v.Name)
		case !shared(claim, v):
			return reason.New(reason.ClaimInUse, "workload", p, "claim", name, "volume", v.Name, "modes", modes(claim))
		case slices.Contains(p.MembersVolumes, v.Name) && writable(p, v):
			return reason.New(reason.ClaimOfMember, "workload", p, "claim", name, "volume", v.Name, "member", p.Live.Name)
		}
	}
	return nil
}

// Risks are what makes a clone do harm, or not do its work, with some programs but not with
// others, which only the user can tell: refusals without --force.
func Risks(p *workload.Program, ns *workload.Namespace, emptied []string) (out []error) {
	for _, v := range p.Spec.Volumes {
		claim := v.PersistentVolumeClaim
		if claim == nil || slices.Contains(emptied, v.Name) || !writable(p, v) || len(ns.Mounting(claim.ClaimName)) > 1 {
			continue
		}
		out = append(out, reason.New(reason.ClaimHasOneWriter, "workload", p, "claim", claim.ClaimName, "volume", v.Name))
	}
	if networks := secondaryNetworks(p.Annotations); networks != "" {
		out = append(out, reason.New(reason.SecondaryNetworks, "workload", p, "networks", networks))
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
