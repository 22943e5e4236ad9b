package sandbox

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// longestGrace bounds, in seconds, how long a sandbox pod may take to end: the session's
// end waits for it, and no user is connected to it any more by then.
const longestGrace = 60

// Pods makes the clones, ready to be created.
func Pods(in Input) []*corev1.Pod {
	kept, _, _ := in.Labels()
	var pods []*corev1.Pod
	for n := range in.Replicas {
		pods = append(pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: record.PodName(in.Session, n), Namespace: in.Route.Namespace,
				Labels: withSession(kept, in.Session), Annotations: in.annotations(), OwnerReferences: in.owners(),
			},
			Spec: in.spec(),
		})
	}
	return pods
}

// othersAnnotations begin those that other parties wrote about the live pod, or by which
// its secondary networks were asked for: neither is true of the clone.
var othersAnnotations = []string{
	"openshift.io/", "security.openshift.io/", "k8s.ovn.org/", "k8s.v1.cni.cncf.io/", "cni.projectcalico.org/",
	"seccomp.security.alpha.kubernetes.io/", "kubernetes.io/limit-ranger",
	// Nor may a pod tune the runtime of its VM (the sandbox policy refuses these).
	"io.katacontainers.", "io.kubernetes.cri-o.", "io.kubernetes.cri.", "io.containerd.", "io.containers.", "io.crun.", "run.oci.", "cdi.k8s.io/", "v1.multus-cni.io/",
}

// othersDomains end the domain of annotations that the node's runtime reads.
var othersDomains = regexp.MustCompile(`(^|\.)(cdi\.k8s|cri-?o|nri|workload\.openshift)\.io(/|$)`)

func (in Input) annotations() map[string]string {
	out := map[string]string{}
	for k, v := range in.Program.Annotations {
		others := func(prefix string) bool { return strings.HasPrefix(k, prefix) }
		if k != corev1.LastAppliedConfigAnnotation && !slices.ContainsFunc(othersAnnotations, others) && !othersDomains.MatchString(k) {
			out[k] = v
		}
	}
	out[record.RouteUIDKey], out[record.RouteNameKey] = string(in.Route.UID), in.Route.Name
	out["openshift.io/required-scc"] = "osc-debug-kata"
	out["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "true"
	return out
}

func (in Input) spec() corev1.PodSpec {
	spec := *in.Program.Spec.DeepCopy()
	live := &in.Program.Live
	spec.SecurityContext = live.Spec.SecurityContext.DeepCopy()
	in.pin(spec.Containers, live.Spec.Containers, live.Status.ContainerStatuses)
	in.pin(spec.InitContainers, live.Spec.InitContainers, live.Status.InitContainerStatuses)
	in.emptyVolumes(&spec)
	in.mountOwn(&spec)
	spec.NodeName, spec.Hostname, spec.Subdomain = "", "", ""
	spec.PriorityClassName, spec.Priority, spec.PreemptionPolicy = "", nil, nil
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.ReadinessGates = nil // who fulfils them knows the original's pods only
	if spec.Affinity != nil && spec.Affinity.PodAntiAffinity != nil {
		// The scheduler keeps other pods away by those of pods that run: the original's next
		// pod would find no node.
		spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
	}
	spec.RuntimeClassName = &in.RuntimeClass
	shared, deadline := !in.SeparatePIDs, int64(record.Deadline.Seconds())
	spec.ShareProcessNamespace, spec.ActiveDeadlineSeconds = &shared, &deadline
	if grace := int64(longestGrace); spec.TerminationGracePeriodSeconds != nil && *spec.TerminationGracePeriodSeconds > grace {
		spec.TerminationGracePeriodSeconds = &grace
	}
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name: record.Sidecar, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	spec.Containers = append(spec.Containers, in.sidecar())
	return spec
}

// emptyVolumes gives the sandbox empty volumes where the user asked for that.
func (in Input) emptyVolumes(spec *corev1.PodSpec) {
	for i, v := range spec.Volumes {
		if slices.Contains(in.EmptyVolumes, v.Name) {
			spec.Volumes[i].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}
	}
}
