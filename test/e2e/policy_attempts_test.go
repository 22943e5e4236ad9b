//go:build e2e

package e2e

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// attempt is a change to a sandbox pod that the policy must reject, and its twin, which it admits.
type attempt struct {
	change func(*corev1.Pod)
	twin   func(*corev1.Pod) // nil: the pod as a session creates it
	denial denial
}

// denial is an expected rejection: by the sandbox policy, whose messages begin with a code, or, if
// code is "", by something else.
type denial struct {
	code  reason.Code
	value string // part of the message
}

// matches says whether an error is this denial.
func (d denial) matches(err error) bool {
	if err == nil || d == (denial{}) {
		return false
	}
	return (d.code == "" || strings.Contains(err.Error(), "denied request: "+string(d.code)+": ")) && strings.Contains(err.Error(), d.value)
}

// Codes of the policy that osc-debug itself never causes; pkg/reason does not have them.
const (
	sandboxWithoutDeadline    reason.Code = "SandboxWithoutDeadline"
	sandboxWithoutSession     reason.Code = "SandboxWithoutSession"
	sandboxWithoutRoute       reason.Code = "SandboxWithoutRoute"
	sandboxMarksChanged       reason.Code = "SandboxMarksChanged"
	nodeNameNotAllowed        reason.Code = "NodeNameNotAllowed"
	ephemeralContainerNotInVM reason.Code = "EphemeralContainerNotInVM"
	sandboxNotLinux           reason.Code = "SandboxNotLinux"
	gracePeriodTooLong        reason.Code = "GracePeriodTooLong"
	finalizerNotAllowed       reason.Code = "FinalizerNotAllowed"
	sandboxNameNotAllowed     reason.Code = "SandboxNameNotAllowed"
	windowsNotAllowed         reason.Code = "WindowsNotAllowed"
)

// deniedBy returns the policy's denial with a code and, if given, a value in its message.
func deniedBy(code reason.Code, value ...string) denial { return denial{code, strings.Join(value, "")} }

// containerDenied returns the denial of a container that is privileged or has capabilities.
func containerDenied(container string) denial {
	return deniedBy(reason.ImageNotAllowed, container+" with ")
}

func addVolume(v corev1.VolumeSource) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: v})
	}
}

func withAnnotation(key string) attempt {
	return attempt{func(p *corev1.Pod) { p.Annotations[key] = "x" }, func(p *corev1.Pod) { p.Annotations["team.example.com/"+key[:2]] = "x" }, deniedBy(reason.AnnotationNotAllowed, key)}
}

// ownLevel is the SELinux level of the test's namespace; OpenShift gives each namespace one.
const ownLevel = "s0:c26,c5"

func setSELinux(kind, level, user string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: kind, Level: level, User: user}}
	}
}

func addCapability(p corev1.Capability) func(*corev1.Container) {
	return func(c *corev1.Container) {
		c.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{p}}}
	}
}

// attempts returns the attempts to create a pod, by their offence.
func attempts() map[string]attempt {
	yes, always := true, corev1.ContainerRestartPolicyAlways
	app := func(change func(*corev1.Container)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { change(&p.Spec.Containers[0]) }
	}
	initial := func(change func(*corev1.Container)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { change(&p.Spec.InitContainers[0]) }
	}
	privileged := func(image string) func(*corev1.Container) {
		return func(c *corev1.Container) {
			c.Image, c.SecurityContext = image, &corev1.SecurityContext{Privileged: &yes}
		}
	}
	image := func(name string) attempt {
		return attempt{func(p *corev1.Pod) { p.Spec.Containers[1].Image = name }, nil, deniedBy(reason.ImageNotAllowed, "osc-debug with "+name)}
	}
	limit := func(name corev1.ResourceName) func(*corev1.Container) {
		return func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{name: resource.MustParse("1")}
		}
	}
	kinds, notInVM := deniedBy(reason.VolumeKindNotAllowed), deniedBy(reason.SandboxNotInVM, "kata, kata-remote")
	scratch := addVolume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	claim := func(p *corev1.Pod) {
		addVolume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}})(p)
	}
	device := []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/xvda"}}
	unmasked, no := corev1.UnmaskedProcMount, false
	return map[string]attempt{
		"no runtime class":          {func(p *corev1.Pod) { p.Spec.RuntimeClassName = nil }, nil, notInVM},
		"another runtime class":     {func(p *corev1.Pod) { plain := "e2e-plain"; p.Spec.RuntimeClassName = &plain }, nil, notInVM},
		"sidecar of another image":  image("quay.io/evil/sidecar@sha256:" + strings.Repeat("2", 64)),
		"sidecar of another digest": image("quay.io/osc-debug/sidecar@sha256:" + strings.Repeat("4", 64)),
		"sidecar by tag":            image("quay.io/osc-debug/sidecar:latest"),
		"sidecar by tag and digest": image("quay.io/osc-debug/sidecar:evil@sha256:" + strings.Repeat("2", 64)),
		"sidecar with a prefix":     image("evil.example.com/" + approvedImage),
		"app privileged":            {app(privileged("quay.io/shop/web:3")), app(privileged(approvedImage)), deniedBy(reason.ImageNotAllowed, "web with quay.io/shop/web:3")},
		"app privileged by digest":  {app(privileged("quay.io/shop/web@sha256:" + strings.Repeat("5", 64))), app(privileged("quay.io/osc-debug/full@sha256:" + strings.Repeat("3", 64))), containerDenied("web")},
		"init container privileged": {initial(privileged("quay.io/shop/init:1")), initial(privileged(approvedImage)), deniedBy(reason.ImageNotAllowed, "init with quay.io/shop/init:1")},
		"native sidecar privileged": {initial(func(c *corev1.Container) { privileged("quay.io/shop/log:1")(c); c.RestartPolicy = &always }), initial(func(c *corev1.Container) { privileged(approvedImage)(c); c.RestartPolicy = &always }), deniedBy(reason.ImageNotAllowed, "init with quay.io/shop/log:1")},
		"SYS_ADMIN":                 {app(addCapability("SYS_ADMIN")), app(addCapability("NET_BIND_SERVICE")), containerDenied("web")},
		"ALL capabilities":          {app(addCapability("ALL")), app(addCapability("NET_BIND_SERVICE")), containerDenied("web")},
		"SYS_PTRACE":                {app(addCapability("SYS_PTRACE")), app(addCapability("NET_BIND_SERVICE")), containerDenied("web")},
		"NET_ADMIN while starting":  {initial(addCapability("NET_ADMIN")), initial(addCapability("NET_BIND_SERVICE")), containerDenied("init")},
		"unmasked /proc": {func(p *corev1.Pod) {
			p.Spec.HostUsers = &no
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ProcMount: &unmasked}
			p.Spec.Containers[1].SecurityContext = nil
		}, func(p *corev1.Pod) { p.Spec.HostUsers = &no; p.Spec.Containers[1].SecurityContext = nil }, containerDenied("web")},
		"hostPath":             {addVolume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), scratch, kinds},
		"hostPath of a socket": {addVolume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/run/crio/crio.sock"}}), scratch, kinds},
		"NFS":                  {addVolume(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "10.0.0.1", Path: "/"}}), scratch, kinds},
		"iSCSI":                {addVolume(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1", IQN: "iqn.2001-04.com.example:storage"}}), scratch, kinds},
		"fibre channel":        {addVolume(corev1.VolumeSource{FC: &corev1.FCVolumeSource{TargetWWNs: []string{"500a0982991b8dc5"}, Lun: new(int32)}}), scratch, kinds},
		"flex volume":          {addVolume(corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{Driver: "evil/root"}}), scratch, kinds},
		"CephFS":               {addVolume(corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{Monitors: []string{"10.0.0.1"}}}), scratch, kinds},
		"image volume":         {addVolume(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "quay.io/evil/tools:1"}}), scratch, kinds},
		"host network":         {func(p *corev1.Pod) { p.Spec.HostNetwork = true; p.Spec.Containers[0].Ports = nil }, nil, deniedBy(reason.HostNamespaceNotAllowed)},
		"host processes":       {func(p *corev1.Pod) { p.Spec.HostPID = true; p.Spec.ShareProcessNamespace = nil }, nil, deniedBy(reason.HostNamespaceNotAllowed)},
		"host IPC":             {func(p *corev1.Pod) { p.Spec.HostIPC = true }, nil, deniedBy(reason.HostNamespaceNotAllowed)},
		"host port":            {app(func(c *corev1.Container) { c.Ports[0].HostPort = 8080 }), nil, deniedBy(reason.HostPortNotAllowed)},
		"host port while starting": {initial(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 81, HostPort: 81}}
			c.RestartPolicy = &always
		}), initial(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 81}}
			c.RestartPolicy = &always
		}), deniedBy(reason.HostPortNotAllowed)},
		"raw device":                {func(p *corev1.Pod) { claim(p); p.Spec.Containers[0].VolumeDevices = device }, claim, deniedBy(reason.RawDeviceNotAllowed)},
		"raw device of the sidecar": {func(p *corev1.Pod) { claim(p); p.Spec.Containers[1].VolumeDevices = device }, claim, deniedBy(reason.RawDeviceNotAllowed)},
		"raw device while starting": {func(p *corev1.Pod) { claim(p); p.Spec.InitContainers[0].VolumeDevices = device }, claim, deniedBy(reason.RawDeviceNotAllowed)},
		"device plugin":             {app(limit("devices.kubevirt.io/kvm")), app(limit("cpu")), deniedBy(reason.NodeDeviceNotAllowed)},
		"GPU while starting":        {initial(limit("nvidia.com/gpu")), initial(limit("memory")), deniedBy(reason.NodeDeviceNotAllowed)},
		"device claim": {func(p *corev1.Pod) {
			claimName := "gpu"
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claimName}}
		}, nil, deniedBy(reason.NodeDeviceNotAllowed)},
		"virtio-fs arguments":     withAnnotation("io.katacontainers.config.hypervisor.virtio_fs_extra_args"),
		"hypervisor path":         withAnnotation("io.katacontainers.config.hypervisor.path"),
		"kernel parameters":       withAnnotation("io.katacontainers.config.hypervisor.kernel_params"),
		"CRI-O devices":           withAnnotation("io.kubernetes.cri-o.Devices"),
		"CRI-O user namespaces":   withAnnotation("io.kubernetes.cri-o.userns-mode"),
		"containerd":              withAnnotation("io.containerd.runc.v2.group"),
		"seccomp profile's":       withAnnotation("seccomp-profile.kubernetes.cri-o.io/pod"),
		"traced system calls":     withAnnotation("io.containers.trace-syscall"),
		"CDI":                     withAnnotation("cdi.k8s.io/gpu"),
		"containerd's CRI":        withAnnotation("io.kubernetes.cri.rdt-class"),
		"load balancing of CPUs":  withAnnotation("cpu-load-balancing.crio.io"),
		"quota of CPUs":           withAnnotation("cpu-quota.crio.io"),
		"crun":                    withAnnotation("run.oci.handler"),
		"NRI":                     withAnnotation("devices.nri.io/pod"),
		"management's CPUs":       withAnnotation("target.workload.openshift.io/management"),
		"networks of the node":    withAnnotation("k8s.v1.cni.cncf.io/networks"),
		"another default network": withAnnotation("v1.multus-cni.io/default-network"),
		"SELinux type of the VM":  {setSELinux("spc_t", "", ""), setSELinux("container_t", "", ""), deniedBy(reason.SELinuxNotAllowed)},
		"SELinux user":            {setSELinux("", "", "system_u"), setSELinux("", "", ""), deniedBy(reason.SELinuxNotAllowed)},
		"SELinux level of others": {setSELinux("", "s0:c1,c2", ""), setSELinux("", ownLevel, ""), deniedBy(reason.SELinuxNotAllowed, ownLevel)},
		"SELinux type of a container": {app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}}
		}), app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Level: ownLevel}}
		}), deniedBy(reason.SELinuxNotAllowed)},
		"no deadline":             {func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = nil }, nil, deniedBy(sandboxWithoutDeadline)},
		"a long deadline":         {func(p *corev1.Pod) { *p.Spec.ActiveDeadlineSeconds = 14401 }, func(p *corev1.Pod) { *p.Spec.ActiveDeadlineSeconds = 1 }, deniedBy(sandboxWithoutDeadline)},
		"a node of its choice":    {func(p *corev1.Pod) { p.Spec.NodeName = "master-0" }, nil, deniedBy(nodeNameNotAllowed)},
		"no session":              {func(p *corev1.Pod) { delete(p.Labels, record.Label) }, nil, deniedBy(sandboxWithoutSession)},
		"an invalid session ID":   {func(p *corev1.Pod) { p.Labels[record.Label] = "aeiou" }, nil, deniedBy(sandboxWithoutSession)},
		"an empty session":        {func(p *corev1.Pod) { p.Labels[record.Label] = "" }, nil, deniedBy(sandboxWithoutSession)},
		"no owner":                {func(p *corev1.Pod) { p.OwnerReferences = nil }, nil, deniedBy(sandboxWithoutRoute)},
		"owned by a ConfigMap":    {func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].Kind = "v1", "ConfigMap" }, nil, deniedBy(sandboxWithoutRoute)},
		"a controller's":          {func(p *corev1.Pod) { p.OwnerReferences[0].Controller = &yes }, nil, deniedBy(sandboxWithoutRoute)},
		"another Route's":         {func(p *corev1.Pod) { p.Annotations[record.RouteUIDKey] = "other" }, nil, deniedBy(sandboxWithoutRoute)},
		"a Route of another name": {func(p *corev1.Pod) { p.Annotations[record.RouteNameKey] = "other" }, nil, deniedBy(sandboxWithoutRoute)},
		"a second owner": {func(p *corev1.Pod) {
			p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"})
		}, nil, deniedBy(sandboxWithoutRoute)},
		"forged mark of privileged": {func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "privileged"; p.Spec.RuntimeClassName = nil }, func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "privileged" }, notInVM},
		"forged mark of restricted": {func(p *corev1.Pod) {
			p.Annotations["openshift.io/scc"] = "restricted-v2"
			p.Spec.RuntimeClassName = nil
		}, func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "restricted-v2" }, notInVM},
		"no SCC asked for":  {func(p *corev1.Pod) { delete(p.Annotations, "openshift.io/required-scc"); p.Spec.RuntimeClassName = nil }, func(p *corev1.Pod) { delete(p.Annotations, "openshift.io/required-scc") }, notInVM},
		"label alone":       {asOrdinaryPod(func(p *corev1.Pod) { p.Labels = map[string]string{record.Label: "bcdfghjk"} }), asOrdinaryPod(func(*corev1.Pod) {}), notInVM},
		"no session, no VM": {func(p *corev1.Pod) { delete(p.Labels, record.Label); p.Spec.RuntimeClassName = nil }, nil, deniedBy(sandboxWithoutSession)},
	}
}

// asOrdinaryPod returns a change that removes everything special from a sandbox pod, and then applies
// another change.
func asOrdinaryPod(change func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels, p.Annotations, p.OwnerReferences = nil, nil, nil
		p.Spec.RuntimeClassName, p.Spec.ActiveDeadlineSeconds = nil, nil
		p.Spec.Containers = p.Spec.Containers[:1]
		change(p)
	}
}
