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

// pinContainers sets in containers what the live pod runs with: the image by the digest that was
// pulled, the security context from admission, the resources after any resize, and the values of
// variables that refer to labels. It removes liveness probes, because a breakpoint must not kill the
// program, and host ports. The user's changes are applied last.
func (in Input) pinContainers(containers, live []corev1.Container, statuses []corev1.ContainerStatus) {
	for i := range containers {
		c := &containers[i]
		if !in.KeepsLiveness {
			c.LivenessProbe = nil
		}
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.StartupProbe} {
			if p != nil {
				p.TerminationGracePeriodSeconds = shortGrace(p.TerminationGracePeriodSeconds)
			}
		}
		c.ResizePolicy = nil // not allowed for a container that is never restarted
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
				// There is nothing newer to pull for a digest, and a session must not depend on the
				// registry being up.
				c.Image, c.ImagePullPolicy = digest, corev1.PullIfNotPresent
			}
		}
		in.resolveLabelVariables(c)
		if image, ok := in.Images[c.Name]; ok {
			c.Image, c.ImagePullPolicy = image, ""
		}
		for _, e := range in.Env[c.Name] {
			c.Env = slices.DeleteFunc(c.Env, func(original corev1.EnvVar) bool { return original.Name == e.Name })
			c.Env = append(c.Env, e)
		}
	}
}

// shortGrace returns a grace period in seconds that is at most record.MaxGrace, and nil for nil.
func shortGrace(seconds *int64) *int64 {
	if longest := int64(record.MaxGrace.Seconds()); seconds != nil && *seconds > longest {
		return &longest
	}
	return seconds
}

var labelField = regexp.MustCompile(`^metadata\.labels\['(.+)'\]$`)

// resolveLabelVariables replaces downward-API variables that refer to labels which the clone does not
// have with the labels' values.
func (in Input) resolveLabelVariables(c *corev1.Container) {
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
		switch _, isKept := kept[key[1]]; {
		case isKept:
		case key[1] == appsv1.StatefulSetPodNameLabel:
			from.FieldRef.FieldPath = "metadata.name" // its own name: it is not a member of the StatefulSet
		case key[1] == appsv1.PodIndexLabel:
			c.Env[i].Value, c.Env[i].ValueFrom = "", nil // it has no index in the StatefulSet
		default:
			c.Env[i].Value, c.Env[i].ValueFrom = in.Program.Live.Labels[key[1]], nil
		}
	}
}

// imageDigest returns repository@sha256:… from the imageID of a container status, "" if the runtime
// reports only a local ID, which cannot be pulled.
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

func (in Input) sidecarContainer() corev1.Container {
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
	clampResources(&c.Resources, in.Ranges)
	return c
}

// clampResources changes the sidecar's resources to comply with the namespace's LimitRanges for
// containers.
func clampResources(r *corev1.ResourceRequirements, ranges []corev1.LimitRange) {
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

// ContainerID returns the runtime's ID of a container, without its scheme, "" if the container has not
// started.
func ContainerID(pod *corev1.Pod, container string) string {
	for _, s := range pod.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && s.Name == container {
			return id
		}
	}
	return ""
}

// Container returns the container to trace: the one with a name if given, else the one that declares
// the Route's port, else the first. It returns an error with reason NoSuchContainer if the program has
// no container with that name.
func Container(in Input, name string) (string, error) {
	if name != "" {
		return name, in.checkContainer(name)
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

// checkContainer returns an error with reason NoSuchContainer if neither the program's containers nor
// those in more include the name.
func (in Input) checkContainer(name string, more ...corev1.Container) error {
	var names []string
	for _, c := range append(slices.Clone(in.Program.Spec.Containers), more...) {
		if c.Name == name {
			return nil
		}
		names = append(names, c.Name)
	}
	return reason.New(reason.NoSuchContainer, "workload", in.Program, "container", name, "containers", strings.Join(names, ", "))
}

// CheckChanges returns an error with reason NoSuchContainer or NoSuchVolume if a change refers to a
// container or volume that the program does not have.
func (in Input) CheckChanges() error {
	changed := append(slices.Collect(maps.Keys(in.Images)), slices.Collect(maps.Keys(in.Env))...)
	slices.Sort(changed)
	for _, name := range changed {
		if err := in.checkContainer(name, in.Program.Spec.InitContainers...); err != nil {
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
