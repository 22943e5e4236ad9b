package sandbox

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
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

// scratchLimit bounds the sidecar's scratch volume, and emptyLimit a volume in place of a claim: they are on the
// node's disk.
var (
	scratchLimit = *resource.NewQuantity(frame.ScratchLimit, resource.BinarySI)
	emptyLimit   = resource.MustParse("10Gi")
)

func (in Input) podSpec() corev1.PodSpec {
	spec := *in.Program.Spec.DeepCopy()
	live := &in.Program.Live
	spec.SecurityContext = live.Spec.SecurityContext.DeepCopy()
	spec.Resources = live.Spec.Resources.DeepCopy() // after any resize
	in.pinContainers(spec.Containers, live.Spec.Containers, live.Status.ContainerStatuses)
	in.pinContainers(spec.InitContainers, live.Spec.InitContainers, live.Status.InitContainerStatuses)
	spec.InitContainers = slices.DeleteFunc(spec.InitContainers, func(c corev1.Container) bool { return slices.Contains(in.SkipInit, c.Name) })
	in.emptyVolumes(&spec)
	in.mountOwnCertificate(&spec)
	spec.NodeName, spec.Hostname, spec.Subdomain = "", "", ""
	spec.PriorityClassName, spec.Priority, spec.PreemptionPolicy = "", nil, nil
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.ReadinessGates = nil  // their controllers set conditions only on the original's pods
	spec.SchedulingGates = nil // their controllers open only those of the original's pods
	spec.SchedulingGroup, spec.HostUsers, spec.SetHostnameAsFQDN = nil, nil, nil
	spec.EphemeralContainers, spec.Overhead = nil, nil
	spec.HostnameOverride = nil // the original's own name
	if spec.Affinity != nil && spec.Affinity.PodAntiAffinity != nil {
		// The scheduler applies the anti-affinity of running pods to new ones, so the original's next
		// pod might find no node.
		spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
	}
	forgetMergedKeys(&spec)
	spec.RuntimeClassName = &in.RuntimeClass
	shared, deadline := !in.SeparatePIDs, int64(record.Deadline.Seconds())
	spec.ShareProcessNamespace, spec.ActiveDeadlineSeconds = &shared, &deadline
	spec.TerminationGracePeriodSeconds = shortGrace(spec.TerminationGracePeriodSeconds)
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name: record.Sidecar, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptrTo(scratchLimit.DeepCopy())}},
	})
	sidecar := in.sidecarContainer(&spec)
	// The kubelet starts containers in this order, and each only after the hook of the one before has returned.
	spec.Containers = append([]corev1.Container{sidecar}, spec.Containers...)
	growResources(spec.Resources, sidecar.Resources)
	return spec
}

// forgetMergedKeys removes from the scheduling rules of a live pod the keys that the API server has merged into their
// selectors. It rejects a new pod that has a key in both.
func forgetMergedKeys(spec *corev1.PodSpec) {
	forget := func(keys *[]string, selector *metav1.LabelSelector) {
		*keys = slices.DeleteFunc(*keys, func(key string) bool {
			return selector != nil && slices.ContainsFunc(selector.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return e.Key == key })
		})
	}
	for i := range spec.TopologySpreadConstraints {
		forget(&spec.TopologySpreadConstraints[i].MatchLabelKeys, spec.TopologySpreadConstraints[i].LabelSelector)
	}
	for _, term := range podAffinityTerms(spec.Affinity) {
		forget(&term.MatchLabelKeys, term.LabelSelector)
		forget(&term.MismatchLabelKeys, term.LabelSelector)
	}
}

// podAffinityTerms returns pointers to all terms of an affinity that select pods.
func podAffinityTerms(a *corev1.Affinity) (out []*corev1.PodAffinityTerm) {
	if a == nil {
		return nil
	}
	collect := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			out = append(out, &required[i])
		}
		for i := range preferred {
			out = append(out, &preferred[i].PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		collect(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		collect(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return out
}

// growResources adds the sidecar's resources to those of the pod as a whole, so that the program keeps what it
// had. total is nil if the pod has none.
func growResources(total *corev1.ResourceRequirements, sidecar corev1.ResourceRequirements) {
	if total == nil {
		return
	}
	grow := func(list, by corev1.ResourceList) {
		for name, q := range list {
			q.Add(by[name])
			list[name] = q
		}
	}
	grow(total.Requests, sidecar.Requests)
	grow(total.Limits, sidecar.Limits)
}

// emptyVolumes replaces the volumes in EmptyVolumes with empty ones.
func (in Input) emptyVolumes(spec *corev1.PodSpec) {
	for i, v := range spec.Volumes {
		if slices.Contains(in.EmptyVolumes, v.Name) {
			spec.Volumes[i].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptrTo(emptyLimit.DeepCopy())}}
		}
	}
}

func ptrTo[T any](v T) *T { return &v }
