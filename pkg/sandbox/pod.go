package sandbox

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/rights"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// maxGracePeriod limits, in seconds, the grace period of a sandbox pod. The session's end waits for
// the pod to terminate, and no user is connected to it by then.
const maxGracePeriod = 60

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

// droppedPrefixes begin the annotations that the clone does not get: those that other components
// wrote about the live pod, and those that request its secondary networks.
var droppedPrefixes = []string{
	"openshift.io/", "security.openshift.io/", "k8s.ovn.org/", "k8s.v1.cni.cncf.io/", "cni.projectcalico.org/",
	"seccomp.security.alpha.kubernetes.io/", "kubernetes.io/limit-ranger",
	// Annotations that configure the VM's runtime; the sandbox policy rejects them.
	"io.katacontainers.", "io.kubernetes.cri-o.", "io.kubernetes.cri.", "io.containerd.", "io.containers.", "io.crun.", "run.oci.", "cdi.k8s.io/", "v1.multus-cni.io/",
}

// runtimeDomains matches the domains of annotations that the node's container runtime reads.
var runtimeDomains = regexp.MustCompile(`(^|\.)(cdi\.k8s|cri-?o|nri|workload\.openshift)\.io(/|$)`)

func (in Input) annotations() map[string]string {
	out := map[string]string{}
	for k, v := range in.Program.Annotations {
		hasPrefix := func(prefix string) bool { return strings.HasPrefix(k, prefix) }
		if k != corev1.LastAppliedConfigAnnotation && !slices.ContainsFunc(droppedPrefixes, hasPrefix) && !runtimeDomains.MatchString(k) {
			out[k] = v
		}
	}
	out[record.RouteUIDKey], out[record.RouteNameKey] = string(in.Route.UID), in.Route.Name
	out["openshift.io/required-scc"] = rights.SCC
	out["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "true"
	return out
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
	if grace := int64(maxGracePeriod); spec.TerminationGracePeriodSeconds != nil && *spec.TerminationGracePeriodSeconds > grace {
		spec.TerminationGracePeriodSeconds = &grace
	}
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
