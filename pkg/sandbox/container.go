package sandbox

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/workload"
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
		c.ResizePolicy, c.RestartPolicyRules = nil, nil // not allowed for a container that is never restarted
		if !workload.IsNativeSidecar(*c) {
			c.RestartPolicy = nil
		}
		for p := range c.Ports {
			c.Ports[p].HostPort, c.Ports[p].HostIP = 0, ""
		}
		for _, l := range live {
			if l.Name == c.Name {
				c.Image, c.SecurityContext, c.Resources = l.Image, l.SecurityContext.DeepCopy(), *l.Resources.DeepCopy()
			}
		}
		for _, s := range statuses {
			if image := runningImage(c.Image, s.ImageID); s.Name == c.Name && image != "" {
				// There is nothing newer to pull for a digest, and a session must not depend on the
				// registry being up.
				c.Image, c.ImagePullPolicy = image, corev1.PullIfNotPresent
			}
		}
		if s := c.SecurityContext; s != nil && s.ProcMount != nil && *s.ProcMount != corev1.DefaultProcMount {
			s.ProcMount = nil // allowed only in a user namespace
		}
		in.resolveLabelVariables(c)
		if image, ok := in.Images[c.Name]; ok {
			c.Image, c.ImagePullPolicy = image, ""
		}
		for _, e := range in.Env[c.Name] {
			c.Env = setVariable(c.Env, e)
		}
	}
}

// setVariable sets a variable of a container where it stands, so that the values that refer to it, as $(NAME),
// still do. A variable that the container does not have, or has from envFrom, goes before the first one that
// refers to it.
func setVariable(env []corev1.EnvVar, e corev1.EnvVar) []corev1.EnvVar {
	refers := func(other corev1.EnvVar) bool { return strings.Contains(other.Value, "$("+e.Name+")") }
	at := slices.IndexFunc(env, func(other corev1.EnvVar) bool { return other.Name == e.Name })
	if at < 0 {
		if at = slices.IndexFunc(env, refers); at < 0 {
			at = len(env)
		}
		return slices.Insert(slices.Clone(env), at, e)
	}
	out := slices.Clone(env)
	out[at] = e
	rest := slices.DeleteFunc(out[at+1:], func(other corev1.EnvVar) bool { return other.Name == e.Name }) // the last one of a name counts
	return out[:at+1+len(rest)]
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
		case key[1] == corev1.LabelTopologyZone || key[1] == corev1.LabelTopologyRegion: // those of its own node
		case key[1] == appsv1.StatefulSetPodNameLabel:
			from.FieldRef.FieldPath = "metadata.name" // its own name: it is not a member of the StatefulSet
		case key[1] == appsv1.PodIndexLabel:
			c.Env[i].Value, c.Env[i].ValueFrom = "", nil // it has no index in the StatefulSet
		default:
			c.Env[i].Value, c.Env[i].ValueFrom = in.Program.Live.Labels[key[1]], nil
		}
	}
}

// runningImage returns the image that a container runs, as repository@sha256:…, and "" if the runtime reports
// only a local ID, which cannot be pulled. The digest is from the imageID in the container's status. The
// repository is that of the spec: the runtime may know the same image from another one, for which the pod has no
// pull secret.
func runningImage(image, imageID string) string {
	repository, digest, ok := strings.Cut(imageID, "@")
	if !ok || repository == "" || !strings.HasPrefix(digest, "sha256:") {
		return ""
	}
	return repositoryOf(image) + "@" + digest
}

// repositoryOf returns an image's name without tag and digest.
func repositoryOf(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon] // the colon of a port comes before a slash
	}
	return name
}

// tracer is the program of the sidecar's image.
const tracer = "/usr/bin/osc-tracer"

// sidecarContainer returns the sidecar. Its resources fit into the LimitRanges beside the program's, if anything is
// left for it.
func (in Input) sidecarContainer(program *corev1.PodSpec) corev1.Container {
	yes, root := true, int64(0)
	c := corev1.Container{
		Name: record.Sidecar, Image: in.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		SecurityContext: &corev1.SecurityContext{Privileged: &yes, RunAsUser: &root, RunAsNonRoot: new(bool)},
		WorkingDir:      frame.ScratchDirs[0],
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	for _, dir := range frame.ScratchDirs {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: record.Sidecar, MountPath: dir})
	}
	if len(in.Record) > 0 {
		c.Command = []string{tracer, "record", "--gadgets=" + strings.Join(in.Record, ",")}
		c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{tracer, "ready"}}}}
	}
	clampResources(&c.Resources, in.Ranges)
	clampToPod(&c.Resources, program, in.Ranges)
	return c
}

// clampToPod changes the sidecar's resources so that those of the whole pod comply with the namespace's
// LimitRanges for pods: it gets what the program leaves, but no less than it requests.
func clampToPod(r *corev1.ResourceRequirements, program *corev1.PodSpec, ranges []corev1.LimitRange) {
	pod := corev1.Pod{Spec: *program}
	limits := resourcehelper.PodLimits(&pod, resourcehelper.PodResourcesOptions{})
	requests := resourcehelper.PodRequests(&pod, resourcehelper.PodResourcesOptions{})
	for _, lr := range ranges {
		for _, item := range lr.Spec.Limits {
			if item.Type != corev1.LimitTypePod {
				continue
			}
			for name, limit := range r.Limits {
				request := r.Requests[name]
				if most, ok := item.Max[name]; ok {
					most.Sub(limits[name])
					limit = smaller(limit, larger(most, request))
				}
				if least, ok := item.Min[name]; ok {
					least.Sub(requests[name])
					request = smaller(larger(request, least), limit)
				}
				if ratio, ok := item.MaxLimitRequestRatio[name]; ok {
					all, asked := limits[name], requests[name]
					all.Add(limit)
					asked.Add(request)
					if all.AsApproximateFloat64() > ratio.AsApproximateFloat64()*asked.AsApproximateFloat64() {
						request = limit
					}
				}
				r.Limits[name], r.Requests[name] = limit, request
			}
		}
	}
}

func smaller(a, b resource.Quantity) resource.Quantity {
	if b.Cmp(a) < 0 {
		return b
	}
	return a
}

func larger(a, b resource.Quantity) resource.Quantity {
	if b.Cmp(a) > 0 {
		return b
	}
	return a
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
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && s.Name == container {
			return id
		}
	}
	return ""
}

// ProgramContainer returns the container of a sandbox's pod that is traced if none is named.
func ProgramContainer(pod *corev1.Pod) string {
	first := ""
	for _, c := range pod.Spec.Containers {
		switch {
		case c.Name == record.Sidecar:
		case c.Name == pod.Annotations[defaultContainer]:
			return c.Name
		case first == "":
			first = c.Name
		}
	}
	return first
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
		for _, c := range in.servers() {
			for _, cp := range c.Ports {
				if cp.ContainerPort == target {
					return c.Name, nil
				}
			}
		}
	}
	return in.Program.Spec.Containers[0].Name, nil
}

// checkContainer returns an error with reason NoSuchContainer if neither the program's containers, with its native sidecars, nor
// those in more include the name.
func (in Input) checkContainer(name string, more ...corev1.Container) error {
	var names []string
	for _, c := range append(in.servers(), more...) {
		if c.Name == name {
			return nil
		}
		names = append(names, c.Name)
	}
	return reason.New(reason.NoSuchContainer, "workload", in.Program, "container", name, "containers", strings.Join(names, ", "))
}

// CheckChanges returns an error with reason NoSuchContainer, NoSuchInitContainer or NoSuchVolume if a change refers to a
// container or volume that the program does not have.
func (in Input) CheckChanges() error {
	changed := append(slices.Collect(maps.Keys(in.Images)), slices.Collect(maps.Keys(in.Env))...)
	slices.Sort(changed)
	for _, name := range changed {
		if err := in.checkContainer(name, in.Program.Spec.InitContainers...); err != nil {
			return err
		}
	}
	var inits, volumes []string
	for _, c := range in.Program.Spec.InitContainers {
		inits = append(inits, c.Name)
	}
	for _, v := range in.Program.Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	if name, ok := firstMissing(in.SkipInit, inits); ok {
		return reason.New(reason.NoSuchInitContainer, "workload", in.Program, "container", name, "containers", strings.Join(inits, ", "))
	}
	if name, ok := firstMissing(in.EmptyVolumes, volumes); ok {
		return reason.New(reason.NoSuchVolume, "workload", in.Program, "volume", name, "volumes", strings.Join(volumes, ", "))
	}
	return nil
}

// firstMissing returns the first of the wanted names that is not among names, and whether there is one.
func firstMissing(wanted, names []string) (string, bool) {
	i := slices.IndexFunc(wanted, func(name string) bool { return !slices.Contains(names, name) })
	if i < 0 {
		return "", false
	}
	return wanted[i], true
}
