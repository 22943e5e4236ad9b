package preflight

import (
	"encoding/json"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Risks returns what makes a clone of some programs harmful or useless, because the program would run a second
// time. Only the user knows whether it does so for this program, so these are errors without --force and warnings
// with it. changes are what the user asked for to avoid some.
func Risks(p *workload.Program, ns *workload.Namespace, changes sandbox.Changes) (out []error) {
	if ns.NeverTwo(p) {
		out = append(out, reason.New(reason.NeverTwoPods, "workload", p))
	}
	if operator := ns.Operator(p); operator != "" {
		out = append(out, reason.New(reason.ManagedByOperator, "workload", p, "kind", operator))
	}
	for _, l := range ns.Leases {
		if pod := holder(l, ns.PodsOf(p)); pod != "" {
			out = append(out, reason.New(reason.LeaseHeldByPod, "workload", p, "lease", l.Name, "pod", pod))
		}
	}
	for _, v := range p.Spec.Volumes {
		claim := v.PersistentVolumeClaim
		if claim == nil || slices.Contains(changes.EmptyVolumes, v.Name) || !mountsWritable(&p.Spec, v) || writers(ns, p, claim.ClaimName) > 1 {
			continue
		}
		out = append(out, reason.New(reason.ClaimHasOneWriter, "workload", p, "claim", claim.ClaimName, "volume", v.Name))
	}
	for _, c := range p.Spec.InitContainers {
		if !workload.IsNativeSidecar(c) && !slices.Contains(changes.SkipInit, c.Name) {
			out = append(out, reason.New(reason.InitRunsAgain, "workload", p, "container", c.Name))
		}
	}
	if networks := secondaryNetworks(p.Annotations); networks != "" {
		out = append(out, reason.New(reason.SecondaryNetworks, "workload", p, "networks", networks))
	}
	return out
}

// holder returns the pod that holds a Lease, "" if none of the pods does. Programs use their pod's name as
// identity, or, like client-go, the name followed by an underscore and a UID.
func holder(l coordinationv1.Lease, pods []corev1.Pod) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	name, _, _ := strings.Cut(*l.Spec.HolderIdentity, "_")
	if slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return pod.Name == name }) {
		return name
	}
	return ""
}

// writers counts the program's pods that write to a claim. Only these show that the program may run twice on it:
// readers, backups, debug copies and pods that are terminating or have not started do not.
func writers(ns *workload.Namespace, p *workload.Program, claim string) (n int) {
	for _, pod := range ns.PodsOf(p) {
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim && mountsWritable(&pod.Spec, v)
		}) {
			n++
		}
	}
	return n
}

// mountsWritable reports whether a container of the pod mounts a volume read-write.
func mountsWritable(spec *corev1.PodSpec, v corev1.Volume) bool {
	if c := v.PersistentVolumeClaim; c != nil && c.ReadOnly {
		return false
	}
	writes := func(c corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name && !m.ReadOnly })
	}
	return slices.ContainsFunc(spec.Containers, writes) || slices.ContainsFunc(spec.InitContainers, writes)
}

// secondaryNetworks returns the networks that a pod requests from Multus, without the one that Istio's
// CNI plugin uses.
func secondaryNetworks(annotations map[string]string) string {
	text := annotations["k8s.v1.cni.cncf.io/networks"]
	networks := strings.Split(text, ",")
	var elements []struct{ Name string }
	if json.Unmarshal([]byte(text), &elements) == nil { // JSON list instead of comma-separated names
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
