//go:build e2e

package e2e

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// fieldAttempts returns attempts to create a sandbox pod with a field, a volume or an annotation that is
// not in the policy's lists, by their offence.
func fieldAttempts() map[string]attempt {
	grace := func(seconds int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = &seconds }
	}
	probe := func(of func(*corev1.Container) **corev1.Probe, seconds int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			*of(&p.Spec.Containers[0]) = &corev1.Probe{TerminationGracePeriodSeconds: &seconds, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}}
		}
	}
	liveness := func(c *corev1.Container) **corev1.Probe { return &c.LivenessProbe }
	startup := func(c *corev1.Container) **corev1.Probe { return &c.StartupProbe }
	field := func(name string, change func(*corev1.Pod)) attempt {
		return attempt{change, nil, deniedBy(reason.FieldNotAllowed, name)}
	}
	user := "ContainerAdministrator"
	windows := &corev1.WindowsSecurityContextOptions{RunAsUserName: &user}
	device := deniedBy(reason.NodeDeviceNotAllowed)
	all := map[string]attempt{
		"a scheduling gate": field("spec.schedulingGates", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} }),
		"Windows options":   field("spec.securityContext.windowsOptions", func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{WindowsOptions: windows} }),
		"Windows options, a container's": field("container web: securityContext.windowsOptions", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{WindowsOptions: windows}
		}),
		"Windows options, while starting": field("container init: securityContext.windowsOptions", func(p *corev1.Pod) {
			p.Spec.InitContainers[0].SecurityContext = &corev1.SecurityContext{WindowsOptions: windows}
		}),
		"Windows": {func(p *corev1.Pod) {
			p.Spec.OS, p.Spec.ShareProcessNamespace = &corev1.PodOS{Name: corev1.Windows}, nil
			p.Spec.Containers = p.Spec.Containers[:1]
		}, func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Linux} }, deniedBy(sandboxNotLinux)},
		"huge pages of a container": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi"), "cpu": resource.MustParse("1")}
		}, func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"memory": resource.MustParse("2Mi"), "cpu": resource.MustParse("1")}
		}, device},
		"huge pages of the pod": {func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi"), "cpu": resource.MustParse("1")}}
		}, func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("200Mi"), "cpu": resource.MustParse("1")}}
		}, device},
		"a claimed device of a container": {func(p *corev1.Pod) {
			name := "gpu"
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: name, ResourceClaimName: &name}}
			p.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: name}}
		}, nil, device},
		"an address of the node":      {func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].HostIP = "127.0.0.1" }, nil, deniedBy(reason.HostPortNotAllowed)},
		"a grace period of 61 s":      {grace(61), grace(60), deniedBy(gracePeriodTooLong)},
		"a grace period of a year":    {grace(31_536_000), grace(0), deniedBy(gracePeriodTooLong)},
		"a year after a probe fails":  {probe(liveness, 31_536_000), probe(liveness, 60), deniedBy(gracePeriodTooLong)},
		"61 s after a probe fails":    {probe(startup, 61), probe(startup, 60), deniedBy(gracePeriodTooLong)},
		"a name of its own":           {func(p *corev1.Pod) { p.Name = "web" }, nil, deniedBy(sandboxNameNotAllowed)},
		"the name of another session": {func(p *corev1.Pod) { p.Name = record.PodName("kjhgfdcb", 0) }, nil, deniedBy(sandboxNameNotAllowed)},
		"a longer name":               {func(p *corev1.Pod) { p.Name += "b" }, func(p *corev1.Pod) { p.Name = record.PodName("bcdfghjk", 25) }, deniedBy(sandboxNameNotAllowed)},
		"a finalizer":                 {func(p *corev1.Pod) { p.Finalizers = []string{"example.com/stay"} }, nil, deniedBy(finalizerNotAllowed)},
		"the garbage collector's":     {func(p *corev1.Pod) { p.Finalizers = []string{"foregroundDeletion"} }, nil, deniedBy(finalizerNotAllowed)},
		"a namespaced owner's guard":  {func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "route.openshift.io/v2" }, nil, deniedBy(sandboxWithoutRoute)},
	}
	path := func(v corev1.VolumeSource) attempt {
		return attempt{addVolume(v), addVolume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), deniedBy(reason.VolumeKindNotAllowed)}
	}
	for name, v := range map[string]corev1.VolumeSource{
		"AWS disk":     {AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "v"}},
		"GCE disk":     {GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "v"}},
		"git":          {GitRepo: &corev1.GitRepoVolumeSource{Repository: "https://git.example.com/x"}},
		"RBD":          {RBD: &corev1.RBDVolumeSource{CephMonitors: []string{"10.0.0.1"}, RBDImage: "v"}},
		"Cinder":       {Cinder: &corev1.CinderVolumeSource{VolumeID: "v"}},
		"Azure file":   {AzureFile: &corev1.AzureFileVolumeSource{SecretName: "s", ShareName: "v"}},
		"Azure disk":   {AzureDisk: &corev1.AzureDiskVolumeSource{DiskName: "v", DataDiskURI: "https://blob.example.com/v"}},
		"vSphere disk": {VsphereVolume: &corev1.VsphereVirtualDiskVolumeSource{VolumePath: "v"}},
		"Quobyte":      {Quobyte: &corev1.QuobyteVolumeSource{Registry: "10.0.0.1:7861", Volume: "v"}},
		"Portworx":     {PortworxVolume: &corev1.PortworxVolumeSource{VolumeID: "v"}},
		"ScaleIO":      {ScaleIO: &corev1.ScaleIOVolumeSource{Gateway: "https://10.0.0.1", System: "s", VolumeName: "v", SecretRef: &corev1.LocalObjectReference{Name: "s"}}},
		"Gluster":      {Glusterfs: &corev1.GlusterfsVolumeSource{EndpointsName: "e", Path: "v"}},
	} {
		all[name] = path(v)
	}
	for _, key := range []string{
		"annotated", // without a domain
		"team.example.com.evil/x", "evil.team.example.com/x", "example.com/x", "team.example.comx/x",
		"kubernetes.io/ingress-bandwidth", "kubernetes.io/psp", "openshift.io/other",
		"devices.noderesource.dev/container.web", "mounts.noderesource.dev/pod", "cdi-devices.noderesource.dev/pod",
		"rdt.resources.beta.kubernetes.io/pod", "blockio.resources.beta.kubernetes.io/pod", "org.systemd.property.CPUWeight",
		"config.linkerd.io/proxy-log-level", "vault.hashicorp.com/agent-inject", "scheduler.alpha.kubernetes.io/critical-pod",
		"k8s.ovn.org/pod-networks", "k8s.v1.cni.cncf.io/network-status", "cni.projectcalico.org/ipAddrs", "cni.projectcalico.org/podIP",
		"irq-load-balancing.crio.io", "dev.gvisor.spec.rootfs.source", "io.podman.annotations.privileged", "osc-debug.dev/other",
	} {
		all["annotation "+key] = attempt{
			func(p *corev1.Pod) { p.Annotations[key] = "x" },
			func(p *corev1.Pod) { p.Annotations["sidecar.example.com/"+strings.ReplaceAll(key, "/", ".")] = "x" },
			deniedBy(reason.AnnotationNotAllowed, key),
		}
	}
	return all
}
