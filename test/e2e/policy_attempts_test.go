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

// attempt is what a user tries, and its twin without the offence.
type attempt struct {
	change func(*corev1.Pod)
	twin   func(*corev1.Pod) // nil: the pod as a session makes it
	denial denial
}

// denial is what refuses an attempt: the sandbox policy, whose messages begin with codes, or without
// a code something else.
type denial struct {
	code  reason.Code
	value string // in the message
}

// of says whether an error is this denial.
func (d denial) of(err error) bool {
	if err == nil || d == (denial{}) {
		return false
	}
	return (d.code == "" || strings.Contains(err.Error(), "denied request: "+string(d.code)+": ")) && strings.Contains(err.Error(), d.value)
}

// Codes of the policy that no command of ours meets: pkg/reason does not have them.
const (
	sandboxWithoutDeadline    reason.Code = "SandboxWithoutDeadline"
	sandboxWithoutSession     reason.Code = "SandboxWithoutSession"
	sandboxWithoutRoute       reason.Code = "SandboxWithoutRoute"
	sandboxMarksChanged       reason.Code = "SandboxMarksChanged"
	nodeNameNotAllowed        reason.Code = "NodeNameNotAllowed"
	ephemeralContainerNotInVM reason.Code = "EphemeralContainerNotInVM"
)

// by is the policy's denial by a code, with a value in its message where one is given.
func by(code reason.Code, value ...string) denial { return denial{code, strings.Join(value, "")} }

// notSo is the denial of a container that may not be what it is.
func notSo(container string) denial { return by(reason.ImageNotAllowed, container+" with ") }

func volume(v corev1.VolumeSource) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: v})
	}
}

func annotated(key string) attempt {
	return attempt{func(p *corev1.Pod) { p.Annotations[key] = "x" }, func(p *corev1.Pod) { p.Annotations["team/"+key[:2]] = "x" }, by(reason.RuntimeAnnotationNotAllowed)}
}

// ownLevel is the SELinux level of the test's namespace, as OpenShift gives each one.
const ownLevel = "s0:c26,c5"

func selinux(kind, level, user string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: kind, Level: level, User: user}}
	}
}

func powers(p corev1.Capability) func(*corev1.Container) {
	return func(c *corev1.Container) {
		c.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{p}}}
	}
}

// attempts at a pod's creation, by what offends.
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
		return attempt{func(p *corev1.Pod) { p.Spec.Containers[1].Image = name }, nil, by(reason.ImageNotAllowed, "osc-debug with "+name)}
	}
	limit := func(name corev1.ResourceName) func(*corev1.Container) {
		return func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{name: resource.MustParse("1")}
		}
	}
	kinds, notInVM := by(reason.VolumeKindNotAllowed), by(reason.SandboxNotInVM, "kata, kata-remote")
	scratch := volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	claim := func(p *corev1.Pod) {
		volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}})(p)
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
		"sidecar with a prefix":     image("evil.example.com/" + approved),
		"app privileged":            {app(privileged("quay.io/shop/web:3")), app(privileged(approved)), by(reason.ImageNotAllowed, "web with quay.io/shop/web:3")},
		"app privileged by digest":  {app(privileged("quay.io/shop/web@sha256:" + strings.Repeat("5", 64))), app(privileged("quay.io/osc-debug/full@sha256:" + strings.Repeat("3", 64))), notSo("web")},
		"init container privileged": {initial(privileged("quay.io/shop/init:1")), initial(privileged(approved)), by(reason.ImageNotAllowed, "init with quay.io/shop/init:1")},
		"native sidecar privileged": {initial(func(c *corev1.Container) { privileged("quay.io/shop/log:1")(c); c.RestartPolicy = &always }), initial(func(c *corev1.Container) { privileged(approved)(c); c.RestartPolicy = &always }), by(reason.ImageNotAllowed, "init with quay.io/shop/log:1")},
		"SYS_ADMIN":                 {app(powers("SYS_ADMIN")), app(powers("NET_BIND_SERVICE")), notSo("web")},
		"ALL capabilities":          {app(powers("ALL")), app(powers("NET_BIND_SERVICE")), notSo("web")},
		"SYS_PTRACE":                {app(powers("SYS_PTRACE")), app(powers("NET_BIND_SERVICE")), notSo("web")},
		"NET_ADMIN while starting":  {initial(powers("NET_ADMIN")), initial(powers("NET_BIND_SERVICE")), notSo("init")},
		"unmasked /proc": {func(p *corev1.Pod) {
			p.Spec.HostUsers = &no
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ProcMount: &unmasked}
			p.Spec.Containers[1].SecurityContext = nil
		}, func(p *corev1.Pod) { p.Spec.HostUsers = &no; p.Spec.Containers[1].SecurityContext = nil }, notSo("web")},
		"hostPath":             {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), scratch, kinds},
		"hostPath of a socket": {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/run/crio/crio.sock"}}), scratch, kinds},
		"NFS":                  {volume(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "10.0.0.1", Path: "/"}}), scratch, kinds},
		"iSCSI":                {volume(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1", IQN: "iqn.2001-04.com.example:storage"}}), scratch, kinds},
		"fibre channel":        {volume(corev1.VolumeSource{FC: &corev1.FCVolumeSource{TargetWWNs: []string{"500a0982991b8dc5"}, Lun: new(int32)}}), scratch, kinds},
		"flex volume":          {volume(corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{Driver: "evil/root"}}), scratch, kinds},
		"CephFS":               {volume(corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{Monitors: []string{"10.0.0.1"}}}), scratch, kinds},
		"image volume":         {volume(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "quay.io/evil/tools:1"}}), scratch, kinds},
		"host network":         {func(p *corev1.Pod) { p.Spec.HostNetwork = true; p.Spec.Containers[0].Ports = nil }, nil, by(reason.HostNamespaceNotAllowed)},
		"host processes":       {func(p *corev1.Pod) { p.Spec.HostPID = true; p.Spec.ShareProcessNamespace = nil }, nil, by(reason.HostNamespaceNotAllowed)},
		"host IPC":             {func(p *corev1.Pod) { p.Spec.HostIPC = true }, nil, by(reason.HostNamespaceNotAllowed)},
		"host port":            {app(func(c *corev1.Container) { c.Ports[0].HostPort = 8080 }), nil, by(reason.HostPortNotAllowed)},
		"host port while starting": {initial(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 81, HostPort: 81}}
			c.RestartPolicy = &always
		}), initial(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 81}}
			c.RestartPolicy = &always
		}), by(reason.HostPortNotAllowed)},
		"raw device":                {func(p *corev1.Pod) { claim(p); p.Spec.Containers[0].VolumeDevices = device }, claim, by(reason.RawDeviceNotAllowed)},
		"raw device of the sidecar": {func(p *corev1.Pod) { claim(p); p.Spec.Containers[1].VolumeDevices = device }, claim, by(reason.RawDeviceNotAllowed)},
		"raw device while starting": {func(p *corev1.Pod) { claim(p); p.Spec.InitContainers[0].VolumeDevices = device }, claim, by(reason.RawDeviceNotAllowed)},
		"device plugin":             {app(limit("devices.kubevirt.io/kvm")), app(limit("cpu")), by(reason.NodeDeviceNotAllowed)},
		"GPU while starting":        {initial(limit("nvidia.com/gpu")), initial(limit("memory")), by(reason.NodeDeviceNotAllowed)},
		"device claim": {func(p *corev1.Pod) {
			claimName := "gpu"
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claimName}}
		}, nil, by(reason.NodeDeviceNotAllowed)},
		"virtio-fs arguments":     annotated("io.katacontainers.config.hypervisor.virtio_fs_extra_args"),
		"hypervisor path":         annotated("io.katacontainers.config.hypervisor.path"),
		"kernel parameters":       annotated("io.katacontainers.config.hypervisor.kernel_params"),
		"CRI-O devices":           annotated("io.kubernetes.cri-o.Devices"),
		"CRI-O user namespaces":   annotated("io.kubernetes.cri-o.userns-mode"),
		"containerd":              annotated("io.containerd.runc.v2.group"),
		"seccomp profile's":       annotated("seccomp-profile.kubernetes.cri-o.io/pod"),
		"traced system calls":     annotated("io.containers.trace-syscall"),
		"CDI":                     annotated("cdi.k8s.io/gpu"),
		"containerd's CRI":        annotated("io.kubernetes.cri.rdt-class"),
		"load balancing of CPUs":  annotated("cpu-load-balancing.crio.io"),
		"quota of CPUs":           annotated("cpu-quota.crio.io"),
		"crun":                    annotated("run.oci.handler"),
		"NRI":                     annotated("devices.nri.io/pod"),
		"management's CPUs":       annotated("target.workload.openshift.io/management"),
		"networks of the node":    annotated("k8s.v1.cni.cncf.io/networks"),
		"another default network": annotated("v1.multus-cni.io/default-network"),
		"SELinux type of the VM":  {selinux("spc_t", "", ""), selinux("container_t", "", ""), by(reason.SELinuxNotAllowed)},
		"SELinux user":            {selinux("", "", "system_u"), selinux("", "", ""), by(reason.SELinuxNotAllowed)},
		"SELinux level of others": {selinux("", "s0:c1,c2", ""), selinux("", ownLevel, ""), by(reason.SELinuxNotAllowed, ownLevel)},
		"SELinux type of a container": {app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}}
		}), app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Level: ownLevel}}
		}), by(reason.SELinuxNotAllowed)},
		"no deadline":             {func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = nil }, nil, by(sandboxWithoutDeadline)},
		"a long deadline":         {func(p *corev1.Pod) { *p.Spec.ActiveDeadlineSeconds = 14401 }, func(p *corev1.Pod) { *p.Spec.ActiveDeadlineSeconds = 1 }, by(sandboxWithoutDeadline)},
		"a node of its choice":    {func(p *corev1.Pod) { p.Spec.NodeName = "master-0" }, nil, by(nodeNameNotAllowed)},
		"no session":              {func(p *corev1.Pod) { delete(p.Labels, record.Label) }, nil, by(sandboxWithoutSession)},
		"a session that can't be": {func(p *corev1.Pod) { p.Labels[record.Label] = "aeiou" }, nil, by(sandboxWithoutSession)},
		"an empty session":        {func(p *corev1.Pod) { p.Labels[record.Label] = "" }, nil, by(sandboxWithoutSession)},
		"no owner":                {func(p *corev1.Pod) { p.OwnerReferences = nil }, nil, by(sandboxWithoutRoute)},
		"owned by a ConfigMap":    {func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].Kind = "v1", "ConfigMap" }, nil, by(sandboxWithoutRoute)},
		"a controller's":          {func(p *corev1.Pod) { p.OwnerReferences[0].Controller = &yes }, nil, by(sandboxWithoutRoute)},
		"another Route's":         {func(p *corev1.Pod) { p.Annotations[record.RouteUIDKey] = "other" }, nil, by(sandboxWithoutRoute)},
		"a Route of another name": {func(p *corev1.Pod) { p.Annotations[record.RouteNameKey] = "other" }, nil, by(sandboxWithoutRoute)},
		"a second owner": {func(p *corev1.Pod) {
			p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"})
		}, nil, by(sandboxWithoutRoute)},
		"forged mark of privileged": {func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "privileged"; p.Spec.RuntimeClassName = nil }, func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "privileged" }, notInVM},
		"forged mark of restricted": {func(p *corev1.Pod) {
			p.Annotations["openshift.io/scc"] = "restricted-v2"
			p.Spec.RuntimeClassName = nil
		}, func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "restricted-v2" }, notInVM},
		"no SCC asked for":  {func(p *corev1.Pod) { delete(p.Annotations, "openshift.io/required-scc"); p.Spec.RuntimeClassName = nil }, func(p *corev1.Pod) { delete(p.Annotations, "openshift.io/required-scc") }, notInVM},
		"label alone":       {ordinary(func(p *corev1.Pod) { p.Labels = map[string]string{record.Label: "bcdfghjk"} }), ordinary(func(*corev1.Pod) {}), notInVM},
		"no session, no VM": {func(p *corev1.Pod) { delete(p.Labels, record.Label); p.Spec.RuntimeClassName = nil }, nil, by(sandboxWithoutSession)},
	}
}

// ordinary takes from a sandbox pod all that makes it one.
func ordinary(change func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels, p.Annotations, p.OwnerReferences = nil, nil, nil
		p.Spec.RuntimeClassName, p.Spec.ActiveDeadlineSeconds = nil, nil
		p.Spec.Containers = p.Spec.Containers[:1]
		change(p)
	}
}
