//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// approved is the image that the policy's parameters allow to be privileged.
const approved = "quay.io/osc-debug/sidecar@sha256:" + "2222222222222222222222222222222222222222222222222222222222222222"

// keepParameters keeps the API server watching ConfigMaps as parameters of policies: when
// the last policy with such parameters goes it stops, and does not begin again until it is
// restarted (k8s.io/apiserver v0.36.3, policy_source.go: a shared informer is stopped).
func keepParameters(ctx context.Context) error {
	ok := func(err error) error {
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	client, meta, allow := core.AdmissionregistrationV1(), metav1.ObjectMeta{Name: "e2e-keeps-parameters"}, admissionv1.AllowAction
	_, err := client.ValidatingAdmissionPolicies().Create(ctx, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"e2e": "nowhere"}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{"CREATE"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}}}},
		Validations: []admissionv1.Validation{{Expression: "true"}},
	}}, metav1.CreateOptions{})
	if ok(err) != nil {
		return err
	}
	_, err = client.ValidatingAdmissionPolicyBindings().Create(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: meta.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		ParamRef: &admissionv1.ParamRef{Name: settingsName, Namespace: "osc-debug", ParameterNotFoundAction: &allow},
	}}, metav1.CreateOptions{})
	return ok(err)
}

// installPolicy installs the sandbox policy and a stand-in for SCC admission for this
// test's namespace, with parameters of its own.
func (e *env) installPolicy() {
	e.t.Helper()
	ctx := e.t.Context()
	only := &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": e.ns}}
	printed, err := exec.Command(binary, "manifests", "policy").Output()
	e.ok(err)
	standIn, err := os.ReadFile("testdata/scc-stand-in.yaml")
	e.ok(err)
	client := core.AdmissionregistrationV1()
	for _, doc := range strings.Split(string(printed)+"\n---\n"+string(standIn), "\n---\n") {
		var meta metav1.TypeMeta
		e.ok(yaml.Unmarshal([]byte(doc), &meta))
		switch meta.Kind {
		case "ValidatingAdmissionPolicy":
			var p admissionv1.ValidatingAdmissionPolicy
			e.ok(yaml.UnmarshalStrict([]byte(doc), &p))
			p.Name = e.ns + "-" + p.Name
			_, err := client.ValidatingAdmissionPolicies().Create(ctx, &p, metav1.CreateOptions{})
			e.ok(err)
			e.t.Cleanup(func() {
				_ = client.ValidatingAdmissionPolicies().Delete(context.Background(), p.Name, metav1.DeleteOptions{})
			})
			e.bindPolicy(p.Name, p.Spec.ParamKind != nil)
		case "MutatingAdmissionPolicy":
			var p admissionv1.MutatingAdmissionPolicy
			e.ok(yaml.UnmarshalStrict([]byte(doc), &p))
			p.Name = e.ns + "-" + p.Name
			_, err := client.MutatingAdmissionPolicies().Create(ctx, &p, metav1.CreateOptions{})
			e.ok(err)
			e.t.Cleanup(func() {
				_ = client.MutatingAdmissionPolicies().Delete(context.Background(), p.Name, metav1.DeleteOptions{})
			})
			_, err = client.MutatingAdmissionPolicyBindings().Create(ctx, &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: p.Name},
				Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: p.Name, MatchResources: &admissionv1.MatchResources{NamespaceSelector: only}}}, metav1.CreateOptions{})
			e.ok(err)
			e.t.Cleanup(func() {
				_ = client.MutatingAdmissionPolicyBindings().Delete(context.Background(), p.Name, metav1.DeleteOptions{})
			})
		case "ValidatingAdmissionPolicyBinding": // the test's own: for its namespace only
		default:
			e.t.Fatalf("the policy has a %s", meta.Kind)
		}
	}
	e.parameters(map[string]string{"runtimeClasses": "kata kata-remote", "images": approved + " quay.io/osc-debug/full@sha256:" + strings.Repeat("3", 64)})
}

// bindPolicy puts a policy in force in this test's namespace.
func (e *env) bindPolicy(policy string, parameters bool) {
	e.t.Helper()
	binding := admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: policy}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": e.ns}}}}}
	if parameters {
		deny := admissionv1.DenyAction
		binding.Spec.ParamRef = &admissionv1.ParamRef{Name: settingsName, Namespace: e.ns, ParameterNotFoundAction: &deny}
	}
	bindings := core.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	_, err := bindings.Create(e.t.Context(), &binding, metav1.CreateOptions{})
	e.ok(err)
	e.t.Cleanup(func() { _ = bindings.Delete(context.Background(), policy, metav1.DeleteOptions{}) })
}

// parameters sets those of the policy; nil takes them away.
func (e *env) parameters(data map[string]string) {
	e.t.Helper()
	maps := core.CoreV1().ConfigMaps(e.ns)
	_ = maps.Delete(e.t.Context(), settingsName, metav1.DeleteOptions{})
	if data == nil {
		return
	}
	_, err := maps.Create(e.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: settingsName}, Data: data}, metav1.CreateOptions{})
	e.ok(err)
}

// grant lets a user use the sandboxes' SCC.
func (e *env) grant(user string) {
	e.t.Helper()
	_, err := core.RbacV1().Roles(e.ns).Create(e.t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "scc-" + user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods/ephemeralcontainers"}, Verbs: []string{"update", "patch"}}, // which role edit lacks
		{APIGroups: []string{"security.openshift.io"}, Resources: []string{"securitycontextconstraints"}, ResourceNames: []string{"osc-debug-kata"}, Verbs: []string{"use"}}}}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.RbacV1().RoleBindings(e.ns).Create(e.t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "scc-" + user},
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "scc-" + user},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: user}}}, metav1.CreateOptions{})
	e.ok(err)
}

// clients are a user's own.
func (e *env) clients(user string) kubernetes.Interface {
	e.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig(user))
	e.ok(err)
	config.QPS, config.Burst = 100, 200
	return kubernetes.NewForConfigOrDie(config)
}

// sandboxPod is a pod as a session makes it, which nothing schedules.
func (e *env) sandboxPod(name string) *corev1.Pod {
	kata, yes, deadline := "kata", true, int64(14400)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: e.ns, Labels: map[string]string{session.Label: "bcdfghjk"},
			Annotations:     map[string]string{session.RouteNameKey: "shop", session.RouteUIDKey: string(e.owner), "openshift.io/required-scc": "osc-debug-kata"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "route.openshift.io/v1", Kind: "Route", Name: "shop", UID: e.owner}},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody", RuntimeClassName: &kata, ActiveDeadlineSeconds: &deadline, ShareProcessNamespace: &yes,
			InitContainers: []corev1.Container{{Name: "init", Image: "quay.io/shop/web:3"}},
			Containers: []corev1.Container{
				{Name: "web", Image: "quay.io/shop/web:3", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}},
				{Name: "osc-debug", Image: approved, SecurityContext: &corev1.SecurityContext{Privileged: &yes}},
			},
		},
	}
}

// attempt is what a user tries, and its twin without the offence.
type attempt struct {
	change func(*corev1.Pod)
	twin   func(*corev1.Pod) // nil: the pod as a session makes it
	says   string
}

func volume(v corev1.VolumeSource) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: v})
	}
}

func annotated(key string) attempt {
	return attempt{func(p *corev1.Pod) { p.Annotations[key] = "x" }, func(p *corev1.Pod) { p.Annotations["team/"+key[:2]] = "x" }, "does not tune its runtime"}
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
		return attempt{func(p *corev1.Pod) { p.Spec.Containers[1].Image = name }, nil, "names in images, by digest; not so: osc-debug with " + name}
	}
	limit := func(name corev1.ResourceName) func(*corev1.Container) {
		return func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{name: resource.MustParse("1")}
		}
	}
	kinds := "a sandbox has volumes of these kinds only"
	scratch := volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	claim := func(p *corev1.Pod) {
		volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}})(p)
	}
	device := []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/xvda"}}
	unmasked, no := corev1.UnmaskedProcMount, false
	return map[string]attempt{
		"no runtime class":          {func(p *corev1.Pod) { p.Spec.RuntimeClassName = nil }, nil, "a sandbox runs under a runtime class for VMs: kata, kata-remote"},
		"another runtime class":     {func(p *corev1.Pod) { plain := "e2e-plain"; p.Spec.RuntimeClassName = &plain }, nil, "a sandbox runs under a runtime class for VMs: kata, kata-remote"},
		"sidecar of another image":  image("quay.io/evil/sidecar@sha256:" + strings.Repeat("2", 64)),
		"sidecar of another digest": image("quay.io/osc-debug/sidecar@sha256:" + strings.Repeat("4", 64)),
		"sidecar by tag":            image("quay.io/osc-debug/sidecar:latest"),
		"sidecar by tag and digest": image("quay.io/osc-debug/sidecar:evil@sha256:" + strings.Repeat("2", 64)),
		"sidecar with a prefix":     image("evil.example.com/" + approved),
		"app privileged":            {app(privileged("quay.io/shop/web:3")), app(privileged(approved)), "not so: web with quay.io/shop/web:3"},
		"app privileged by digest":  {app(privileged("quay.io/shop/web@sha256:" + strings.Repeat("5", 64))), app(privileged("quay.io/osc-debug/full@sha256:" + strings.Repeat("3", 64))), "not so: web with"},
		"init container privileged": {initial(privileged("quay.io/shop/init:1")), initial(privileged(approved)), "not so: init with quay.io/shop/init:1"},
		"native sidecar privileged": {initial(func(c *corev1.Container) { privileged("quay.io/shop/log:1")(c); c.RestartPolicy = &always }), initial(func(c *corev1.Container) { privileged(approved)(c); c.RestartPolicy = &always }), "not so: init with quay.io/shop/log:1"},
		"SYS_ADMIN":                 {app(powers("SYS_ADMIN")), app(powers("NET_BIND_SERVICE")), "not so: web with"},
		"ALL capabilities":          {app(powers("ALL")), app(powers("NET_BIND_SERVICE")), "not so: web with"},
		"SYS_PTRACE":                {app(powers("SYS_PTRACE")), app(powers("NET_BIND_SERVICE")), "not so: web with"},
		"NET_ADMIN while starting":  {initial(powers("NET_ADMIN")), initial(powers("NET_BIND_SERVICE")), "not so: init with"},
		"unmasked /proc": {func(p *corev1.Pod) {
			p.Spec.HostUsers = &no
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ProcMount: &unmasked}
			p.Spec.Containers[1].SecurityContext = nil
		}, func(p *corev1.Pod) { p.Spec.HostUsers = &no; p.Spec.Containers[1].SecurityContext = nil }, "not so: web with"},
		"hostPath":             {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), scratch, kinds},
		"hostPath of a socket": {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/run/crio/crio.sock"}}), scratch, kinds},
		"NFS":                  {volume(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "10.0.0.1", Path: "/"}}), scratch, kinds},
		"iSCSI":                {volume(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1", IQN: "iqn.2001-04.com.example:storage"}}), scratch, kinds},
		"fibre channel":        {volume(corev1.VolumeSource{FC: &corev1.FCVolumeSource{TargetWWNs: []string{"500a0982991b8dc5"}, Lun: new(int32)}}), scratch, kinds},
		"flex volume":          {volume(corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{Driver: "evil/root"}}), scratch, kinds},
		"CephFS":               {volume(corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{Monitors: []string{"10.0.0.1"}}}), scratch, kinds},
		"image volume":         {volume(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "quay.io/evil/tools:1"}}), scratch, kinds},
		"host network":         {func(p *corev1.Pod) { p.Spec.HostNetwork = true; p.Spec.Containers[0].Ports = nil }, nil, "no namespace of the node"},
		"host processes":       {func(p *corev1.Pod) { p.Spec.HostPID = true; p.Spec.ShareProcessNamespace = nil }, nil, "no namespace of the node"},
		"host IPC":             {func(p *corev1.Pod) { p.Spec.HostIPC = true }, nil, "no namespace of the node"},
		"host port":            {app(func(c *corev1.Container) { c.Ports[0].HostPort = 8080 }), nil, "no port of the node"},
		"host port while starting": {initial(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 81, HostPort: 81}}
			c.RestartPolicy = &always
		}), initial(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 81}}
			c.RestartPolicy = &always
		}), "no port of the node"},
		"raw device":                {func(p *corev1.Pod) { claim(p); p.Spec.Containers[0].VolumeDevices = device }, claim, "no raw devices"},
		"raw device of the sidecar": {func(p *corev1.Pod) { claim(p); p.Spec.Containers[1].VolumeDevices = device }, claim, "no raw devices"},
		"raw device while starting": {func(p *corev1.Pod) { claim(p); p.Spec.InitContainers[0].VolumeDevices = device }, claim, "no raw devices"},
		"device plugin":             {app(limit("devices.kubevirt.io/kvm")), app(limit("cpu")), "no devices of the node"},
		"GPU while starting":        {initial(limit("nvidia.com/gpu")), initial(limit("memory")), "no devices of the node"},
		"device claim": {func(p *corev1.Pod) {
			claimName := "gpu"
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claimName}}
		}, nil, "no devices of the node"},
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
		"SELinux type of the VM":  {selinux("spc_t", "", ""), selinux("container_t", "", ""), "SELinux type container_t"},
		"SELinux user":            {selinux("", "", "system_u"), selinux("", "", ""), "SELinux type container_t"},
		"SELinux level of others": {selinux("", "s0:c1,c2", ""), selinux("", ownLevel, ""), "level of its namespace, " + ownLevel},
		"SELinux type of a container": {app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}}
		}), app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Level: ownLevel}}
		}), "SELinux type container_t"},
		"no deadline":             {func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = nil }, nil, "a sandbox ends by itself"},
		"a long deadline":         {func(p *corev1.Pod) { *p.Spec.ActiveDeadlineSeconds = 14401 }, func(p *corev1.Pod) { *p.Spec.ActiveDeadlineSeconds = 1 }, "a sandbox ends by itself"},
		"a node of its choice":    {func(p *corev1.Pod) { p.Spec.NodeName = "master-0" }, nil, "the scheduler chooses"},
		"no session":              {func(p *corev1.Pod) { delete(p.Labels, session.Label) }, nil, "a sandbox belongs to a session"},
		"a session that can't be": {func(p *corev1.Pod) { p.Labels[session.Label] = "aeiou" }, nil, "a sandbox belongs to a session"},
		"an empty session":        {func(p *corev1.Pod) { p.Labels[session.Label] = "" }, nil, "a sandbox belongs to a session"},
		"no owner":                {func(p *corev1.Pod) { p.OwnerReferences = nil }, nil, "a sandbox belongs to a Route"},
		"owned by a ConfigMap":    {func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].Kind = "v1", "ConfigMap" }, nil, "a sandbox belongs to a Route"},
		"a controller's":          {func(p *corev1.Pod) { p.OwnerReferences[0].Controller = &yes }, nil, "a sandbox belongs to a Route"},
		"another Route's":         {func(p *corev1.Pod) { p.Annotations[session.RouteUIDKey] = "other" }, nil, "a sandbox belongs to a Route"},
		"a Route of another name": {func(p *corev1.Pod) { p.Annotations[session.RouteNameKey] = "other" }, nil, "a sandbox belongs to a Route"},
		"a second owner": {func(p *corev1.Pod) {
			p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"})
		}, nil, "a sandbox belongs to a Route"},
		"forged mark of privileged": {func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "privileged"; p.Spec.RuntimeClassName = nil }, func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "privileged" }, "a runtime class for VMs"},
		"forged mark of restricted": {func(p *corev1.Pod) {
			p.Annotations["openshift.io/scc"] = "restricted-v2"
			p.Spec.RuntimeClassName = nil
		}, func(p *corev1.Pod) { p.Annotations["openshift.io/scc"] = "restricted-v2" }, "a runtime class for VMs"},
		"no SCC asked for":  {func(p *corev1.Pod) { delete(p.Annotations, "openshift.io/required-scc"); p.Spec.RuntimeClassName = nil }, func(p *corev1.Pod) { delete(p.Annotations, "openshift.io/required-scc") }, "a runtime class for VMs"},
		"label alone":       {ordinary(func(p *corev1.Pod) { p.Labels = map[string]string{session.Label: "bcdfghjk"} }), ordinary(func(*corev1.Pod) {}), "a runtime class for VMs"},
		"no session, no VM": {func(p *corev1.Pod) { delete(p.Labels, session.Label); p.Spec.RuntimeClassName = nil }, nil, "a sandbox belongs to a session"},
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

// Every attempt of an ordinary user, who may use the SCC, at a privileged container that is
// not in a VM or not of an approved image, or at something of the node, is refused for its
// reason; each twin without the offence is admitted.
func TestTheSandboxPolicy(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.owner = e.plainRoute("shop").UID
	e.grant("alice")
	_, err := core.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-plain"}, Handler: "runc"}, metav1.CreateOptions{})
	e.ok(err)
	t.Cleanup(func() {
		_ = core.NodeV1().RuntimeClasses().Delete(context.Background(), "e2e-plain", metav1.DeleteOptions{})
	})
	_, err = core.CoreV1().Namespaces().Patch(t.Context(), e.ns, types.MergePatchType, []byte(`{"metadata":{"annotations":{"openshift.io/sa.scc.mcs":"`+ownLevel+`"}}}`), metav1.PatchOptions{})
	e.ok(err)
	e.installPolicy()
	alice := e.clients("alice").CoreV1().Pods(e.ns)
	try := func(change func(*corev1.Pod)) error {
		p := e.sandboxPod("try")
		if change != nil {
			change(p)
		}
		_, err := alice.Create(t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	var offends, sound error
	defer func() { t.Logf("with the offence: %v; without: %v", offends, sound) }()
	e.eventually("the policies in force", func() bool {
		offends, sound = try(ordinary(func(p *corev1.Pod) { p.Labels = map[string]string{session.Label: "x"} })), try(nil)
		unmarked := try(attempts()["no session, no VM"].change) // the stand-in for SCC admission is a policy too
		return offends != nil && strings.Contains(offends.Error(), "a runtime class for VMs") && sound == nil && unmarked != nil
	})
	tried := 0
	expect := func(name, says string, err, twin error) {
		t.Helper()
		tried++
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, wanted a refusal because %q", name, err, says)
		}
		if twin != nil {
			t.Errorf("%s: its twin is refused: %v", name, twin)
		}
	}
	for name, a := range attempts() {
		expect(name, a.says, try(a.change), try(a.twin))
	}
	there := e.tryUpdates(expect)
	e.tryEphemeral(expect)
	e.tryWorkloads(expect)

	bob := e.clients("bob").CoreV1().Pods(e.ns)
	e.bind("bob", "edit")
	e.eventually("bob's rights", func() bool {
		_, err := bob.List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	_, err = bob.Create(t.Context(), e.sandboxPod("try"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	expect("without the grant", "unable to validate against any security context constraint", err, try(nil))

	for name, c := range map[string]struct {
		data map[string]string
		says string
	}{
		"no parameters":         {nil, "no params found"},
		"no images named":       {map[string]string{"runtimeClasses": "kata", "images": ""}, "names in images, by digest; not so: osc-debug"},
		"no key images":         {map[string]string{"runtimeClasses": "kata"}, "names in images, by digest; not so: osc-debug"},
		"images by tag":         {map[string]string{"runtimeClasses": "kata", "images": "quay.io/osc-debug/sidecar"}, "names in images, by digest; not so: osc-debug"},
		"no runtime classes":    {map[string]string{"runtimeClasses": " ", "images": approved}, "names none in runtimeClasses"},
		"no key runtimeClasses": {map[string]string{"images": approved}, "names none in runtimeClasses"},
	} {
		twin := try(nil)
		e.parameters(c.data)
		var err error
		e.eventually("the policy's new parameters", func() bool {
			err = try(nil)
			return err != nil && strings.Contains(err.Error(), c.says)
		})
		expect(name, c.says, err, twin)
		if err := try(ordinary(func(*corev1.Pod) {})); err != nil {
			t.Errorf("%s: an ordinary pod is refused: %v", name, err)
		}
		// What is there already can still come to its end, and nothing else; without any
		// parameters the API server does not look at what is changed.
		if c.data != nil {
			_, err = alice.Patch(t.Context(), there, types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/gc"]}}`), dryRun)
		} else {
			err = nil
		}
		_, changed := alice.Patch(t.Context(), there, types.MergePatchType, []byte(`{"metadata":{"annotations":{"team/note":"y"}}}`), dryRun)
		expect(name+", later", c.says, changed, err)
		e.parameters(map[string]string{"runtimeClasses": "kata kata-remote", "images": approved})
		e.eventually("the policy's old parameters", func() bool { return try(nil) == nil })
	}
	t.Logf("%d attempts", tried)
	if tried < 105 {
		t.Errorf("only %d attempts", tried)
	}
}

var dryRun = metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}

// tryUpdates tries to make something else of a sandbox that is there, and returns its name.
func (e *env) tryUpdates(expect func(name, says string, err, twin error)) (there string) {
	ctx := e.t.Context()
	alice := e.clients("alice").CoreV1().Pods(e.ns)
	created, err := alice.Create(ctx, e.sandboxPod("there"), metav1.CreateOptions{})
	e.ok(err)
	dry := metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}
	update := func(change func(*corev1.Pod)) error {
		p := created.DeepCopy()
		change(p)
		_, err := alice.Update(ctx, p, dry)
		return err
	}
	ephemeral := func(c corev1.EphemeralContainerCommon) error {
		p := created.DeepCopy()
		c.Name = "late"
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: c})
		_, err := alice.UpdateEphemeralContainers(ctx, p.Name, p, dry)
		return err
	}
	yes := true
	harmless := func(p *corev1.Pod) { p.Annotations["team/note"] = "x" }
	for name, c := range map[string]struct {
		change, twin func(*corev1.Pod)
		says         string
	}{
		"image of the sidecar":   {func(p *corev1.Pod) { p.Spec.Containers[1].Image = "quay.io/evil/tools:1" }, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "quay.io/shop/web:4" }, "not so: osc-debug with quay.io/evil/tools:1"},
		"session removed":        {func(p *corev1.Pod) { delete(p.Labels, session.Label) }, harmless, "a sandbox belongs to a session"},
		"session changed":        {func(p *corev1.Pod) { p.Labels[session.Label] = "evil" }, func(p *corev1.Pod) { p.Labels["team"] = "x" }, "a sandbox belongs to a session"},
		"session and SCC hidden": {func(p *corev1.Pod) { delete(p.Labels, session.Label); delete(p.Annotations, "openshift.io/scc") }, harmless, "a sandbox belongs to a session"},
		"another session's":      {func(p *corev1.Pod) { p.Labels[session.Label] = "bcdfghjj" }, harmless, "a sandbox keeps its session"},
		"no Route any more":      {func(p *corev1.Pod) { delete(p.Annotations, session.RouteNameKey) }, harmless, "a sandbox keeps its session and its Route"},
		"another Route's UID":    {func(p *corev1.Pod) { p.Annotations[session.RouteUIDKey] = "other" }, harmless, "a sandbox keeps its session and its Route"},
		"runtime tuned later":    {func(p *corev1.Pod) { p.Annotations["io.katacontainers.config.agent.debug_console"] = "x" }, harmless, "does not tune its runtime"},
	} {
		expect(name, c.says, update(c.change), update(c.twin))
	}
	for name, c := range map[string]struct {
		offence, twin corev1.EphemeralContainerCommon
	}{
		"ephemeral, privileged":        {corev1.EphemeralContainerCommon{Image: "quay.io/evil/tools:1", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}, corev1.EphemeralContainerCommon{Image: approved, SecurityContext: &corev1.SecurityContext{Privileged: &yes}}},
		"ephemeral, with capabilities": {corev1.EphemeralContainerCommon{Image: "quay.io/evil/tools:1", SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}}}, corev1.EphemeralContainerCommon{Image: "quay.io/shop/tools:1"}},
	} {
		expect(name, "not so: late with quay.io/evil/tools:1", ephemeral(c.offence), ephemeral(c.twin))
	}
	return created.Name
}

// tryEphemeral tries to be privileged in an ordinary pod, late; who may be privileged anywhere
// still may.
func (e *env) tryEphemeral(expect func(name, says string, err, twin error)) {
	ctx, yes := e.t.Context(), true
	p := e.sandboxPod("ordinary")
	ordinary(func(*corev1.Pod) {})(p)
	created, err := e.clients("alice").CoreV1().Pods(e.ns).Create(ctx, p, metav1.CreateOptions{})
	e.ok(err)
	add := func(client kubernetes.Interface, s *corev1.SecurityContext) error {
		p := created.DeepCopy()
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "late", Image: approved, SecurityContext: s}}}
		_, err := client.CoreV1().Pods(e.ns).UpdateEphemeralContainers(ctx, p.Name, p, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for name, offence := range map[string]*corev1.SecurityContext{
		"ephemeral in an ordinary pod, privileged": {Privileged: &yes},
		"ephemeral in an ordinary pod, SYS_PTRACE": {Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}}},
		"ephemeral in an ordinary pod, spc_t":      {SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}},
		"ephemeral in an ordinary pod, unconfined": {SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}},
		"ephemeral in an ordinary pod, root":       {RunAsUser: new(int64)},
	} {
		expect(name, "belongs into a sandbox, which runs under a runtime class for VMs", add(e.clients("alice"), offence), add(e.clients("alice"), nil))
		if err := add(core, offence); err != nil {
			e.t.Errorf("%s: refused to an administrator: %v", name, err)
		}
	}
}

// tryWorkloads tries to have a controller make the pods: its own rights count then, and it
// has no grant. (A DeploymentConfig makes ReplicationControllers.)
func (e *env) tryWorkloads(expect func(name, says string, err, twin error)) {
	ctx := e.t.Context()
	client := e.clients("alice")
	const ofSCC, ofPolicy = "unable to validate against any security context constraint", "a sandbox runs under a runtime class for VMs"
	template := func(says string) corev1.PodTemplateSpec {
		p := e.sandboxPod("")
		if says != ofSCC {
			ordinary(func(*corev1.Pod) {})(p)
		}
		p.OwnerReferences, p.Labels = nil, map[string]string{"app": "try"} // no session, so that the SCC alone decides
		if says == ofPolicy {
			p.Labels[session.Label] = "bcdfghjk" // and no SCC asked for: the policy alone does
		}
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels, Annotations: p.Annotations}, Spec: p.Spec}
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "try"}}
	deployment := func(name string, t corev1.PodTemplateSpec) error {
		t.Spec.ActiveDeadlineSeconds = nil
		_, err := client.AppsV1().Deployments(e.ns).Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
		return err
	}
	for kind, create := range map[string]func(name string, t corev1.PodTemplateSpec) error{
		"Deployment": deployment,
		"ReplicaSet": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.AppsV1().ReplicaSets(e.ns).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
			return err
		},
		"StatefulSet": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.AppsV1().StatefulSets(e.ns).Create(ctx, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
			return err
		},
		"ReplicationController": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.CoreV1().ReplicationControllers(e.ns).Create(ctx, &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ReplicationControllerSpec{Template: &t}}, metav1.CreateOptions{})
			return err
		},
		"Job": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, err := client.BatchV1().Jobs(e.ns).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: t}}, metav1.CreateOptions{})
			return err
		},
		"CronJob": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, err := client.BatchV1().CronJobs(e.ns).Create(ctx, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: t}}}}, metav1.CreateOptions{})
			return err
		},
		"DaemonSet": func(name string, t corev1.PodTemplateSpec) error {
			t.Spec.ActiveDeadlineSeconds = nil
			_, err := client.AppsV1().DaemonSets(e.ns).Create(ctx, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: t}}, metav1.CreateOptions{})
			return err
		},
		"session's Deployment": deployment,
	} {
		name, says := "try-"+strings.NewReplacer("'", "", " ", "-").Replace(strings.ToLower(kind)), ofSCC
		if strings.HasPrefix(kind, "session's") {
			says = ofPolicy
		}
		e.ok(create(name, template(says)))
		e.ok(create("ok-"+name, template("")))
		var refusal error
		e.within(2*time.Minute, "a refusal of "+kind, func() bool { // a CronJob begins with the minute
			list, err := core.CoreV1().Events(e.ns).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
			e.ok(err)
			for _, event := range list.Items {
				if strings.HasPrefix(event.InvolvedObject.Name, name) {
					refusal = fmt.Errorf("%s", event.Message)
					return true
				}
			}
			return false
		})
		e.within(2*time.Minute, "pods of the twin of "+kind, func() bool { return len(e.podsNamed("ok-"+name)) > 0 })
		expect(kind, says, refusal, nil)
		if len(e.podsNamed(name)) > 0 {
			e.t.Errorf("%s: it has pods", kind)
		}
	}
}

func (e *env) podsNamed(prefix string) (out []string) {
	list, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{})
	e.ok(err)
	for _, p := range list.Items {
		if strings.HasPrefix(p.Name, prefix) {
			out = append(out, p.Name)
		}
	}
	return out
}
