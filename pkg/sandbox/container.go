package sandbox

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// pin makes containers what runs: the image by the digest that was pulled, the security
// context that admission gave the live pod, the resources that an autoscaler or a resize
// gave it, the labels that variables tell. Liveness probes go, since a
// breakpoint must not kill the program, and so do ports on the node. The user's changes
// come last.
func (in Input) pin(containers, live []corev1.Container, statuses []corev1.ContainerStatus) {
	for i := range containers {
		c := &containers[i]
		if !in.KeepsLiveness {
			c.LivenessProbe = nil
		}
		c.ResizePolicy = nil // a container that is never restarted may not ask for that
		for p := range c.Ports {
			c.Ports[p].HostPort, c.Ports[p].HostIP = 0, ""
		}
		for _, l := range live {
			if l.Name == c.Name {
				c.SecurityContext, c.Resources = l.SecurityContext.DeepCopy(), *l.Resources.DeepCopy()
			}
		}
		for _, s := range statuses {
			if digest := imageDigest(s.ImageID); s.Name == c.Name && digest != "" {
				// Under a digest there is nothing newer to pull, and a session must not need a
				// registry that is down.
				c.Image, c.ImagePullPolicy = digest, corev1.PullIfNotPresent
			}
		}
		in.keepLabelVariables(c)
		if image, ok := in.Images[c.Name]; ok {
			c.Image, c.ImagePullPolicy = image, ""
		}
		for _, e := range in.Env[c.Name] {
			c.Env = slices.DeleteFunc(c.Env, func(was corev1.EnvVar) bool { return was.Name == e.Name })
			c.Env = append(c.Env, e)
		}
	}
}

var labelField = regexp.MustCompile(`^metadata\.labels\['(.+)'\]$`)

// keepLabelVariables gives variables that tell a label which the clone loses its value.
func (in Input) keepLabelVariables(c *corev1.Container) {
	kept, _, _ := in.Labels()
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil || from.FieldRef == nil {
			continue
		}
		key := labelField.FindStringSubmatch(from.FieldRef.FieldPath)
		if key == nil {
			continue
		}
		switch _, there := kept[key[1]]; {
		case there:
		case key[1] == appsv1.StatefulSetPodNameLabel:
			from.FieldRef.FieldPath = "metadata.name" // its own: it is no member
		case key[1] == appsv1.PodIndexLabel:
			c.Env[i].Value, c.Env[i].ValueFrom = "", nil // it has no place among the members
		default:
			c.Env[i].Value, c.Env[i].ValueFrom = in.Program.Live.Labels[key[1]], nil
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
	c := corev1.Container{
		Name: record.Sidecar, Image: in.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		SecurityContext: &corev1.SecurityContext{Privileged: &yes, RunAsUser: &root, RunAsNonRoot: new(bool)},
		VolumeMounts:    []corev1.VolumeMount{{Name: record.Sidecar, MountPath: "/scratch"}},
		WorkingDir:      "/scratch",
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	within(&c.Resources, in.Ranges)
	return c
}

// within keeps the sidecar's resources inside what the namespace's LimitRanges let a
// container have.
func within(r *corev1.ResourceRequirements, ranges []corev1.LimitRange) {
	for _, lr := range ranges {
		for _, item := range lr.Spec.Limits {
			if item.Type != corev1.LimitTypeContainer {
				continue
			}
			for name, limit := range r.Limits {
				if most, ok := item.Max[name]; ok && limit.Cmp(most) > 0 {
					limit = most
				}
				request := r.Requests[name]
				if least, ok := item.Min[name]; ok && request.Cmp(least) < 0 {
					request = least
				}
				if ratio, ok := item.MaxLimitRequestRatio[name]; ok && limit.AsApproximateFloat64() > ratio.AsApproximateFloat64()*request.AsApproximateFloat64() {
					request = limit
				}
				if request.Cmp(limit) > 0 {
					request = limit
				}
				r.Limits[name], r.Requests[name] = limit, request
			}
		}
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

// Container picks the container that is to be traced: the named one, else the one that
// declares the Route's port, else the first.
func Container(in Input, name string) (string, error) {
	if name != "" {
		return name, in.known(name)
	}
	for _, p := range in.Service.Spec.Ports {
		target := in.targetPort(p)
		if !route.UsesPort(in.Route, p.Name, target) {
			continue
		}
		for _, c := range in.Program.Spec.Containers {
			for _, cp := range c.Ports {
				if cp.ContainerPort == target {
					return c.Name, nil
				}
			}
		}
	}
	return in.Program.Spec.Containers[0].Name, nil
}

// known refuses a container that the program does not have.
func (in Input) known(name string, more ...corev1.Container) error {
	var names []string
	for _, c := range append(slices.Clone(in.Program.Spec.Containers), more...) {
		if c.Name == name {
			return nil
		}
		names = append(names, c.Name)
	}
	return reason.New(reason.NoSuchContainer, "workload", in.Program, "container", name, "containers", strings.Join(names, ", "))
}

// CheckChanges refuses changes to what the program does not have.
func (in Input) CheckChanges() error {
	changed := append(slices.Collect(maps.Keys(in.Images)), slices.Collect(maps.Keys(in.Env))...)
	slices.Sort(changed)
	for _, name := range changed {
		if err := in.known(name, in.Program.Spec.InitContainers...); err != nil {
			return err
		}
	}
	for _, name := range in.EmptyVolumes {
		var names []string
		for _, v := range in.Program.Spec.Volumes {
			names = append(names, v.Name)
		}
		if !slices.Contains(names, name) {
			return reason.New(reason.NoSuchVolume, "workload", in.Program, "volume", name, "volumes", strings.Join(names, ", "))
		}
	}
	return nil
}
