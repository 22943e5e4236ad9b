package reason

// Doctor: what a session in a namespace lacks.
const (
	APIServerUnreachable Code = "APIServerUnreachable"
	RoutesNotServed      Code = "RoutesNotServed"

	SettingsNotRead Code = "SettingsNotRead"
	SettingsMissing Code = "SettingsMissing"

	NoGuardStandsBy Code = "NoGuardStandsBy"
	NoGuardToAsk    Code = "NoGuardToAsk"

	PodSecurityNotRead  Code = "PodSecurityNotRead"
	PodSecurityUnset    Code = "PodSecurityUnset"
	PodSecurityEnforced Code = "PodSecurityEnforced"
	SCCNotServed        Code = "SCCNotServed"
	SCCNotUsable        Code = "SCCNotUsable"

	RuntimeClassNotAllowed Code = "RuntimeClassNotAllowed"
	NoRuntimeClass         Code = "NoRuntimeClass"
	RuntimeClassNotRead    Code = "RuntimeClassNotRead"

	SidecarImageMissing    Code = "SidecarImageMissing"
	SidecarImageNoDigest   Code = "SidecarImageNoDigest"
	SidecarImageNotAllowed Code = "SidecarImageNotAllowed"

	SCCPolicyNotInForce     Code = "SCCPolicyNotInForce"
	SCCWithoutSandboxPolicy Code = "SCCWithoutSandboxPolicy"
	SandboxPolicyNotInForce Code = "SandboxPolicyNotInForce"
	SandboxPolicyNotSeen    Code = "SandboxPolicyNotSeen"

	RouteNotRead Code = "RouteNotRead"

	NoNodeForSandbox     Code = "NoNodeForSandbox"
	SidecarNotPulled     Code = "SidecarNotPulled"
	SidecarNotStarted    Code = "SidecarNotStarted"
	SandboxPodNotStarted Code = "SandboxPodNotStarted"
)

var doctorReasons = []Reason{
	{APIServerUnreachable, Finding, "no answer: {why}", "log in with 'oc login', or name a file with --kubeconfig"},
	{
		RoutesNotServed, Finding, "Kubernetes {version} without Routes (route.openshift.io)",
		"use an OpenShift cluster: osc-debug moves the traffic of Routes",
	},

	{SettingsNotRead, Finding, "{why}", "oc edit configmap {configmap} -n {home}"},
	{
		SettingsMissing, Finding, "neither ConfigMap {home}/{configmap} nor one in namespace {namespace}: defaults hold, and the sandbox policy has no parameters",
		"have a cluster administrator apply it: {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -",
	},

	{
		NoGuardStandsBy, Finding, "none stands by: {why}",
		"have a cluster administrator apply it: {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -; " +
			"or, for this namespace alone: {osc-debug} manifests guard-team -n {namespace} --image GUARD@sha256:… | oc apply -f -; if it is applied: oc get pods -n {home}",
	},
	{NoGuardToAsk, Finding, "no guard to ask", ""},

	{PodSecurityNotRead, Finding, "namespace {namespace} can't be read ({why}): 'sandbox pod' below tells", ""},
	{
		PodSecurityUnset, Finding, "namespace {namespace} has no label pod-security.kubernetes.io/enforce: newer OpenShift enforces restricted then",
		"a namespace that holds sandboxes needs a label, and the sandbox policy still refuses every other privileged pod: " +
			"'oc label namespace {namespace} pod-security.kubernetes.io/enforce=privileged security.openshift.io/scc.podSecurityLabelSync=false --overwrite'",
	},
	{
		PodSecurityEnforced, Finding, `namespace {namespace} enforces pod security "{level}", under which no sidecar may be privileged`,
		"a namespace that holds sandboxes needs a label, and the sandbox policy still refuses every other privileged pod: " +
			"'oc label namespace {namespace} pod-security.kubernetes.io/enforce=privileged security.openshift.io/scc.podSecurityLabelSync=false --overwrite'",
	},
	{SCCNotServed, Finding, "this cluster has no SecurityContextConstraints: only admission policies decide about pods", ""},
	{
		SCCNotUsable, Finding, "{user} may not use SCC osc-debug-kata",
		"have a cluster administrator apply '{osc-debug} manifests scc' and '{osc-debug} manifests rbac', then 'oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}'",
	},

	{RuntimeClassNotAllowed, Finding, "{class} is not among those that the administrator allows: {allowed}", "name one with --runtime-class"},
	{
		NoRuntimeClass, Finding, "the cluster has no RuntimeClass {class}",
		"have a cluster administrator install OpenShift sandboxed containers and create a KataConfig, or name another with --runtime-class",
	},
	{RuntimeClassNotRead, Finding, "you may not read RuntimeClasses: 'sandbox pod' below tells", ""},

	{SidecarImageMissing, Finding, "this build of the command has no default image", "name one with --sidecar-image"},
	{SidecarImageNoDigest, Finding, "{image} is not named by digest", "name it by digest with --sidecar-image: 'make images' prints it"},
	{
		SidecarImageNotAllowed, Finding, "{image} is not among those that the administrator allows: {allowed}",
		"oc edit configmap osc-debug -n osc-debug: add it to images, or name one of those with --sidecar-image",
	},

	{
		SCCPolicyNotInForce, Finding,
		"under SCC osc-debug-kata you may make a privileged pod without a session's label, which no policy judges: policy osc-debug-scc is not in force",
		"have a cluster administrator apply it: {osc-debug} manifests policy | oc apply -f -",
	},
	{
		SCCWithoutSandboxPolicy, Finding,
		"under SCC osc-debug-kata you may make a privileged pod that is not in a VM: you are root on nodes until the policy is in force",
		"have a cluster administrator apply it: {osc-debug} manifests policy | oc apply -f -",
	},
	{
		SandboxPolicyNotInForce, Finding, "a privileged pod that is not in a VM would be admitted: the policy is not in force",
		"have a cluster administrator apply it: {osc-debug} manifests policy | oc apply -f -",
	},
	{
		SandboxPolicyNotSeen, Finding, "a pod that is not in a VM is refused, but not by the policy: {why}",
		"have a cluster administrator apply it: {osc-debug} manifests policy | oc apply -f -",
	},

	{RouteNotRead, Finding, "{why}", "oc get routes -n {namespace}"},

	{
		NoNodeForSandbox, Finding, "no node takes a pod of runtime class {class}: {why}",
		"have a cluster administrator add a node for the runtime class (KataConfig, MachineSet) or free one",
	},
	{
		SidecarNotPulled, Finding, "node {node} can't start {image}: {state}: {why}",
		"push the image where the cluster's nodes can pull it, or give the namespace a pull secret, or name another with --sidecar-image",
	},
	{SidecarNotStarted, Finding, "node {node} can't start {image}: {state}: {why}", "look at it with 'oc get events -n {namespace}'"},
	{SandboxPodNotStarted, Finding, `the pod does not start: it is {phase} on node "{node}"`, "look at it with 'oc get events -n {namespace}'"},
}
