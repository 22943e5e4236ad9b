package reason

// Findings of doctor: what is missing for a session in a namespace.
const (
	APIServerUnreachable Code = "APIServerUnreachable"
	RoutesNotServed      Code = "RoutesNotServed"

	SettingsNotRead Code = "SettingsNotRead"
	SettingsMissing Code = "SettingsMissing"

	GuardMissing   Code = "GuardMissing"
	NoGuardToCheck Code = "NoGuardToCheck"

	PodSecurityNotRead  Code = "PodSecurityNotRead"
	PodSecurityUnset    Code = "PodSecurityUnset"
	PodSecurityEnforced Code = "PodSecurityEnforced"
	WindowsPodsAllowed  Code = "WindowsPodsAllowed"
	SCCNotServed        Code = "SCCNotServed"
	SCCNotUsable        Code = "SCCNotUsable"

	RuntimeClassNotAllowed Code = "RuntimeClassNotAllowed"
	NoRuntimeClass         Code = "NoRuntimeClass"
	RuntimeClassNotRead    Code = "RuntimeClassNotRead"

	SidecarImageMissing    Code = "SidecarImageMissing"
	SidecarImageNoDigest   Code = "SidecarImageNoDigest"
	SidecarImageNotAllowed Code = "SidecarImageNotAllowed"

	SCCPolicyNotInForce     Code = "SCCPolicyNotInForce"
	SCCPolicyNotSeen        Code = "SCCPolicyNotSeen"
	SCCWithoutSandboxPolicy Code = "SCCWithoutSandboxPolicy"
	SandboxPolicyNotInForce Code = "SandboxPolicyNotInForce"
	SandboxPolicyNotSeen    Code = "SandboxPolicyNotSeen"

	RouteNotRead Code = "RouteNotRead"

	NoNodeForSandbox     Code = "NoNodeForSandbox"
	SidecarNotPulled     Code = "SidecarNotPulled"
	SidecarNotStarted    Code = "SidecarNotStarted"
	SandboxPodNotStarted Code = "SandboxPodNotStarted"

	GadgetUnavailable Code = "GadgetUnavailable"
	GadgetDegraded    Code = "GadgetDegraded"
	SeccompNotRead    Code = "SeccompNotRead"
	SeccompDiffers    Code = "SeccompDiffers"
)

var doctorReasons = []Reason{
	{APIServerUnreachable, Finding, "the API server does not answer: {why}", "log in with 'oc login', or name a kubeconfig file with --kubeconfig"},
	{
		RoutesNotServed, Finding, "Kubernetes {version} does not serve Routes (route.openshift.io)",
		"use an OpenShift cluster; osc-debug moves the traffic of Routes",
	},

	{SettingsNotRead, Finding, "{why}", "check that you can read it: oc get configmap {configmap} -n {home}"},
	{
		SettingsMissing, Finding, "neither ConfigMap {home}/{configmap} nor one in namespace {namespace} was found; defaults apply, and the sandbox policy has no parameters",
		`ask a cluster administrator to run:
  {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -`,
	},

	{
		GuardMissing, Finding, "no guard is running ({why})",
		`ask a cluster administrator to install the guard:
  {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -
or install one for this namespace alone:
  {osc-debug} manifests guard-team -n {namespace} --image GUARD@sha256:… | oc apply -f -
if one is installed, check its pods:
  oc get pods -n {home}`,
	},
	{NoGuardToCheck, Finding, "there is no guard to check", ""},

	{PodSecurityNotRead, Finding, "namespace {namespace} cannot be read ({why}); see 'sandbox pod' below", ""},
	{
		PodSecurityUnset, Finding, "namespace {namespace} has no label pod-security.kubernetes.io/enforce; newer versions of OpenShift then enforce restricted",
		`The namespace must allow privileged pods; SCCs and the sandbox policy still restrict them. Ask an administrator to run:
  oc label namespace {namespace} pod-security.kubernetes.io/enforce=privileged security.openshift.io/scc.podSecurityLabelSync=false osc-debug.dev/sessions=allowed --overwrite`,
	},
	{
		WindowsPodsAllowed, Finding, "namespace {namespace} allows privileged pods, and SCCs do not restrict pods on Windows nodes",
		`Ask an administrator to run the following; policy osc-debug-windows then rejects Windows pods in the namespace:
  oc label namespace {namespace} osc-debug.dev/sessions=allowed`,
	},
	{
		PodSecurityEnforced, Finding, `namespace {namespace} enforces pod security "{level}", which forbids the privileged sidecar`,
		`The namespace must allow privileged pods; SCCs and the sandbox policy still restrict them. Ask an administrator to run:
  oc label namespace {namespace} pod-security.kubernetes.io/enforce=privileged security.openshift.io/scc.podSecurityLabelSync=false osc-debug.dev/sessions=allowed --overwrite`,
	},
	{SCCNotServed, Finding, "this cluster has no SecurityContextConstraints; only admission policies restrict pods", ""},
	{
		SCCNotUsable, Finding, "{user} cannot use SCC osc-debug-kata",
		`The SCC is safe only with the sandbox policy. Ask a cluster administrator to run:
  {osc-debug} manifests policy | oc apply -f -
  {osc-debug} manifests scc | oc apply -f -
  {osc-debug} manifests rbac | oc apply -f -
  oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}`,
	},

	{RuntimeClassNotAllowed, Finding, "the administrator does not allow RuntimeClass {class} (allowed: {allowed})", "use an allowed one with --runtime-class"},
	{
		NoRuntimeClass, Finding, "the cluster has no RuntimeClass {class}",
		"ask a cluster administrator to install OpenShift sandboxed containers and create a KataConfig, or use another RuntimeClass with --runtime-class",
	},
	{RuntimeClassNotRead, Finding, "you cannot read RuntimeClasses; see 'sandbox pod' below", ""},

	{SidecarImageMissing, Finding, "this build of osc-debug has no default sidecar image", "name one with --sidecar-image"},
	{SidecarImageNoDigest, Finding, "sidecar image {image} is not named by digest", "name it by digest with --sidecar-image ('make images' prints the digest)"},
	{
		SidecarImageNotAllowed, Finding, "the administrator does not allow sidecar image {image} (allowed: {allowed})",
		"use an allowed one with --sidecar-image, or ask an administrator to add it to data.images: oc edit configmap osc-debug -n osc-debug",
	},

	{
		SCCPolicyNotSeen, Finding, "{user} may use SCC privileged, which policy osc-debug-scc leaves alone; whether the policy is in force cannot be seen as this user",
		"run this check as a user with role osc-debug-user",
	},
	{
		SCCPolicyNotInForce, Finding,
		"policy osc-debug-scc is not in force: with SCC osc-debug-kata you can create a privileged pod without a session label, which no policy checks",
		"ask a cluster administrator to run: {osc-debug} manifests policy | oc apply -f -",
	},
	{
		SCCWithoutSandboxPolicy, Finding,
		"policy osc-debug-sandbox is not in force: with SCC osc-debug-kata you can create a privileged pod outside a VM and become root on nodes",
		"ask a cluster administrator to run: {osc-debug} manifests policy | oc apply -f -",
	},
	{
		SandboxPolicyNotInForce, Finding, "policy osc-debug-sandbox is not in force: a privileged pod outside a VM would be admitted",
		"ask a cluster administrator to run: {osc-debug} manifests policy | oc apply -f -",
	},
	{
		SandboxPolicyNotSeen, Finding, "a pod outside a VM is rejected, but not by the sandbox policy: {why}",
		"ask a cluster administrator to run: {osc-debug} manifests policy | oc apply -f -",
	},

	{RouteNotRead, Finding, "{why}", "list the Routes: oc get routes -n {namespace}"},

	{
		NoNodeForSandbox, Finding, "no node can run a pod of RuntimeClass {class}: {why}",
		"ask a cluster administrator to add a node for the RuntimeClass (KataConfig, MachineSet), or to free capacity on one",
	},
	{
		SidecarNotPulled, Finding, "node {node} cannot pull {image} ({state}: {why})",
		"push the image where the cluster's nodes can pull it, add a pull secret to the namespace, or use another image with --sidecar-image",
	},
	{SidecarNotStarted, Finding, "node {node} cannot start {image} ({state}: {why})", "see the Events: oc get events -n {namespace}"},
	{SandboxPodNotStarted, Finding, `the sandbox pod did not start (phase {phase}, node "{node}")`, "see the Events: oc get events -n {namespace}"},

	{GadgetUnavailable, Finding, "gadget {gadget} does not work in this sandbox: {why}", ""},
	{GadgetDegraded, Finding, "gadget {gadget} does not see all: {why}", ""},
	{SeccompNotRead, Finding, "the sandbox's program has seccomp mode {mode}; that of the original is not known: {why}", ""},
	{
		SeccompDiffers, Finding, "the sandbox's program has seccomp mode {mode}, the original's has {original} (0: none, 2: filter)",
		"system calls that the original may not make can succeed in the sandbox: have them in mind when you compare both",
	},
}
