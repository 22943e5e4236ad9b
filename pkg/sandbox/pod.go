// Package sandbox makes the objects of a sandbox out of the live program: pods that
// run in a VM of their own beside a privileged sidecar, and the Service that the Route
// gets as one more backend. Pure functions; nothing here talks to a cluster.
package sandbox

import (
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// Sidecar is the name of the container that the tools run in.
const Sidecar = "osc-debug"

// Deadline is how long a sandbox pod may live, in seconds: the longest that policy
// allows. It cannot be raised later, so sessions end earlier by their journal.
const Deadline = 4 * 60 * 60

// Input is all that a sandbox is made of.
type Input struct {
	Session      string
	Route        *routev1.Route
	Program      *workload.Program
	Service      *corev1.Service     // the Route's primary
	Selectors    []workload.Selector // that the clone must escape
	RuntimeClass string
	Image        string // sidecar
	Replicas     int
}

// Pods makes the clones, ready to be created.
func Pods(in Input) []*corev1.Pod {
	kept, _, _ := in.Labels()
	var pods []*corev1.Pod
	for n := range in.Replicas {
		spec := in.spec()
		pods = append(pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: session.PodName(in.Session, n), Namespace: in.Route.Namespace,
				Labels: withSession(kept, in.Session), Annotations: in.annotations(), OwnerReferences: in.owners(),
			},
			Spec: spec,
		})
	}
	return pods
}

// Labels says which of the program's labels the clone keeps, which it loses so that
// nothing else selects it, and what selects it all the same.
func (in Input) Labels() (kept, dropped map[string]string, caught []workload.Selector) {
	own := map[string]string{}
	for k, v := range in.Program.Labels {
		if !hashes[k] {
			own[k] = v
		}
	}
	return Escape(own, withSession(nil, in.Session), in.Selectors)
}

// hashes are labels that controllers put on their own pods.
var hashes = map[string]bool{
	"pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true,
	"statefulset.kubernetes.io/pod-name": true, "apps.kubernetes.io/pod-index": true,
}

func withSession(set map[string]string, id string) map[string]string {
	out := map[string]string{session.Label: id}
	for k, v := range set {
		out[k] = v
	}
	return out
}

func (in Input) annotations() map[string]string {
	out := map[string]string{}
	for k, v := range in.Program.Annotations {
		// What other parties wrote about the live pod is not true of the clone.
		if k != corev1.LastAppliedConfigAnnotation && !strings.HasPrefix(k, "openshift.io/") &&
			!strings.HasPrefix(k, "k8s.ovn.org/") && !strings.HasPrefix(k, "k8s.v1.cni.cncf.io/") &&
			!strings.HasPrefix(k, "security.openshift.io/") {
			out[k] = v
		}
	}
	out[session.RouteUIDKey], out[session.RouteNameKey] = string(in.Route.UID), in.Route.Name
	out["openshift.io/required-scc"] = "osc-debug-kata"
	out["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "true"
	return out
}

// owners makes the Route the owner: when it is deleted, so is the sandbox. Without
// blockOwnerDeletion, which would need rights on the Route's finalizers.
func (in Input) owners() []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: routev1.GroupVersion.String(), Kind: "Route", Name: in.Route.Name, UID: in.Route.UID,
	}}
}

func (in Input) spec() corev1.PodSpec {
	spec := *in.Program.Spec.DeepCopy()
	live := &in.Program.Live
	spec.SecurityContext = live.Spec.SecurityContext.DeepCopy()
	pin(spec.Containers, live.Spec.Containers, live.Status.ContainerStatuses)
	pin(spec.InitContainers, live.Spec.InitContainers, live.Status.InitContainerStatuses)
	spec.NodeName, spec.Hostname, spec.Subdomain = "", "", ""
	spec.PriorityClassName, spec.Priority, spec.PreemptionPolicy = "", nil, nil
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.RuntimeClassName = &in.RuntimeClass
	yes, deadline := true, int64(Deadline)
	spec.ShareProcessNamespace, spec.ActiveDeadlineSeconds = &yes, &deadline
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name: Sidecar, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	spec.Containers = append(spec.Containers, in.sidecar())
	return spec
}

// pin makes containers what runs: the image by the digest that was pulled, the
// security context that admission gave the live pod. Liveness probes go, since a
// breakpoint must not kill the program, and so do ports on the node.
func pin(containers, live []corev1.Container, statuses []corev1.ContainerStatus) {
	for i := range containers {
		c := &containers[i]
		c.LivenessProbe = nil
		for p := range c.Ports {
			c.Ports[p].HostPort, c.Ports[p].HostIP = 0, ""
		}
		for _, l := range live {
			if l.Name == c.Name {
				c.SecurityContext = l.SecurityContext.DeepCopy()
			}
		}
		for _, s := range statuses {
			if digest := imageDigest(s.ImageID); s.Name == c.Name && digest != "" {
				// Under a digest there is nothing newer to pull, and a session must not need a
				// registry that is down.
				c.Image, c.ImagePullPolicy = digest, corev1.PullIfNotPresent
			}
		}
	}
}

// imageDigest reads repository@sha256:… out of a container status' imageID; "" when the
// runtime tells only the image's local id, by which nobody can pull.
func imageDigest(imageID string) string {
	_, after, found := strings.Cut(imageID, "://")
	if found {
		imageID = after
	}
	if repository, digest, ok := strings.Cut(imageID, "@"); ok && repository != "" && strings.HasPrefix(digest, "sha256:") {
		return imageID
	}
	return ""
}

func (in Input) sidecar() corev1.Container {
	yes, root := true, int64(0)
	return corev1.Container{
		Name: Sidecar, Image: in.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		SecurityContext: &corev1.SecurityContext{Privileged: &yes, RunAsUser: &root, RunAsNonRoot: new(bool)},
		VolumeMounts:    []corev1.VolumeMount{{Name: Sidecar, MountPath: "/scratch"}},
		WorkingDir:      "/scratch",
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// ContainerID is the runtime's ID of a running container, without its scheme; "" when it
// does not run.
func ContainerID(pod *corev1.Pod, container string) string {
	for _, s := range pod.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && s.Name == container {
			return id
		}
	}
	return ""
}
