package reason

// What a session's preflight refuses or warns of: the Route, the program behind it, the caller's
// rights, the namespace's limits, and what the API server itself refuses.
const (
	// The caller's rights.
	PermissionsMissing Code = "PermissionsMissing"
	ReadForbidden      Code = "ReadForbidden"

	// The Route.
	RouteNotFound           Code = "RouteNotFound"
	RouteHasOwner           Code = "RouteHasOwner"
	RouteNotAdmitted        Code = "RouteNotAdmitted"
	RouterNotServing        Code = "RouterNotServing"
	RoutersNotProbed        Code = "RoutersNotProbed"
	ExternalCertificate     Code = "ExternalCertificate"
	DestinationCAMissing    Code = "DestinationCAMissing"
	AlternateBackendsFull   Code = "AlternateBackendsFull"
	BackendNamedTwice       Code = "BackendNamedTwice"
	BalanceIgnoresWeights   Code = "BalanceIgnoresWeights"
	ServiceIdled            Code = "ServiceIdled"
	NoReadyBackend          Code = "NoReadyBackend"
	PrimaryServesNobody     Code = "PrimaryServesNobody"
	ArgoCDAppliesRoute      Code = "ArgoCDAppliesRoute"
	FluxAppliesRoute        Code = "FluxAppliesRoute"
	HelmReleaseAppliesRoute Code = "HelmReleaseAppliesRoute"
	PortNotOfService        Code = "PortNotOfService"

	// The weights.
	PercentOutOfRange Code = "PercentOutOfRange"
	SandboxNotReady   Code = "SandboxNotReady"
	NoTraffic         Code = "NoTraffic"

	// The program.
	ServiceMissing            Code = "ServiceMissing"
	ServiceWithoutSelector    Code = "ServiceWithoutSelector"
	NoReadyPod                Code = "NoReadyPod"
	OtherWorkload             Code = "OtherWorkload"
	ReplicaSetGone            Code = "ReplicaSetGone"
	ReplicationControllerGone Code = "ReplicationControllerGone"
	RevisionGone              Code = "RevisionGone"
	JobPods                   Code = "JobPods"
	NoSuchContainer           Code = "NoSuchContainer"
	NoSuchVolume              Code = "NoSuchVolume"
	GatewayProxy              Code = "GatewayProxy"
	HostNamespaces            Code = "HostNamespaces"
	ResourceClaims            Code = "ResourceClaims"
	ExtendedResource          Code = "ExtendedResource"
	RawDeviceVolume           Code = "RawDeviceVolume"
	HostPathVolume            Code = "HostPathVolume"
	VolumeKindUnsupported     Code = "VolumeKindUnsupported"
	ClaimUnreadable           Code = "ClaimUnreadable"
	ClaimInUse                Code = "ClaimInUse"
	ClaimOfMember             Code = "ClaimOfMember"
	ClaimHasOneWriter         Code = "ClaimHasOneWriter"
	SecondaryNetworks         Code = "SecondaryNetworks"

	// The namespace's limits, as far as they are known.
	QuotaTooSmall Code = "QuotaTooSmall"

	// What the API server refuses, by which of its plugins.
	APIServerRefuses        Code = "APIServerRefuses"
	PodSecurityForbids      Code = "PodSecurityForbids"
	SCCNotGranted           Code = "SCCNotGranted"
	SCCForbidsCapability    Code = "SCCForbidsCapability"
	SCCForbidsVolume        Code = "SCCForbidsVolume"
	PolicyParamsMissing     Code = "PolicyParamsMissing"
	RuntimeClassNotFound    Code = "RuntimeClassNotFound"
	LimitRangeExceeded      Code = "LimitRangeExceeded"
	QuotaExceeded           Code = "QuotaExceeded"
	QuotaWantsResources     Code = "QuotaWantsResources"
	OwnerReferenceForbidden Code = "OwnerReferenceForbidden"
	CustomHostForbidden     Code = "CustomHostForbidden"

	// What the sandbox policy refuses: manifests/policy/policy.yaml begins its messages with these.
	SandboxNotInVM              Code = "SandboxNotInVM"
	HostNamespaceNotAllowed     Code = "HostNamespaceNotAllowed"
	HostPortNotAllowed          Code = "HostPortNotAllowed"
	VolumeKindNotAllowed        Code = "VolumeKindNotAllowed"
	RawDeviceNotAllowed         Code = "RawDeviceNotAllowed"
	NodeDeviceNotAllowed        Code = "NodeDeviceNotAllowed"
	RuntimeAnnotationNotAllowed Code = "RuntimeAnnotationNotAllowed"
	SELinuxNotAllowed           Code = "SELinuxNotAllowed"
	ImageNotAllowed             Code = "ImageNotAllowed"
)

const (
	apiServerRefuses = "the API server refuses {object}: {why}"

	askForRole   = "ask for 'oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}' (a cluster administrator makes the role: '{osc-debug} manifests rbac')"
	emptyOne     = "--empty-volume {volume} gives the sandbox an empty one instead"
	emptyInstead = "--empty-volume gives the sandbox an empty volume instead"
)

var preflightReasons = []Reason{
	{PermissionsMissing, Refusal, "namespace {namespace}: {who} may not {verbs}", askForRole},
	{ReadForbidden, Refusal, "{why}", askForRole},

	{RouteNotFound, Refusal, "route {namespace}/{route}: there is none of this name", "'oc get routes -n {namespace}' lists them"},
	{RouteHasOwner, Refusal, "route {namespace}/{route}: is made by {owner}", "debug a Route of your own: the controller would undo every change"},
	{RouteNotAdmitted, Refusal, "route {namespace}/{route}: no router admitted it ({why})",
		"a Route must be served before traffic can be shifted; 'oc describe route' tells more"},
	{RouterNotServing, Warning, "router {router} does not serve the Route ({why}): users who come by it see nothing of the session", ""},
	{RoutersNotProbed, Refusal, "route {namespace}/{route}: {count} routers serve it ({routers}) and {probed} would be probed",
		"give the address of each with --router, once for each; --force is content with those that are probed, --no-probe with none"},
	{ExternalCertificate, Refusal, "route {namespace}/{route}: spec.tls.externalCertificate is set: any change of such a Route needs permission for routes/custom-host",
		"put the certificate into the Route for the session"},
	{DestinationCAMissing, Refusal, "route {namespace}/{route}: re-encrypts without a destination CA: the router wants a certificate for the sandbox Service's own name",
		"set spec.tls.destinationCACertificate, or use a serving certificate of OpenShift (annotation service.beta.openshift.io/serving-cert-secret-name on the Service, mounted by its pods): the sandbox then gets its own"},
	{AlternateBackendsFull, Refusal, "route {namespace}/{route}: {count} alternate backends already there, OpenShift allows no more", "remove one first"},
	{BackendNamedTwice, Refusal, "route {namespace}/{route}: Service {service} is both primary and alternate backend, the router would use only its last weight", "remove the alternate"},
	{BalanceIgnoresWeights, Refusal, "route {namespace}/{route}: balance algorithm {balance} does not follow weights", "remove the annotation, or set it to roundrobin"},
	{ServiceIdled, Refusal, "route {namespace}/{route}: Service {service} is idled since {since}: it has no pods", "wake it with a request to the Route, then try again"},
	{NoReadyBackend, Refusal, "route {namespace}/{route}: no backend with a weight has a ready endpoint on the Route's port, users get 503 now", "make a pod of them ready first"},
	{PrimaryServesNobody, Refusal, "route {namespace}/{route}: no user is served by its primary Service {service}, but by {others}",
		"a sandbox clones the primary's program: make the Service that users are served by the primary ('oc patch route', spec.to), or --force if they are to meet this one"},
	{ArgoCDAppliesRoute, Refusal, "route {namespace}/{route}: Argo CD applies it and would take the session's weights back", `add to its Application, then give --force:
  spec:
    syncPolicy:
      syncOptions: [RespectIgnoreDifferences=true]
    ignoreDifferences:
    - group: route.openshift.io
      kind: Route
      name: {route}
      jsonPointers: [/spec/to/weight, /spec/alternateBackends, /metadata/labels/{label}, /metadata/annotations/{journal}]`},
	{FluxAppliesRoute, Refusal, "route {namespace}/{route}: Flux applies it (Kustomization {kustomization}) and would take the session's weights back",
		`have it leave the Route alone for the session, then it is not refused:
  oc annotate route {route} -n {namespace} kustomize.toolkit.fluxcd.io/reconcile=disabled`},
	{HelmReleaseAppliesRoute, Refusal, "route {namespace}/{route}: Flux applies it (HelmRelease {release}) and may take the session's weights back",
		`add to the HelmRelease, then give --force:
  spec:
    driftDetection:
      ignore:
      - paths: [/spec/to/weight, /spec/alternateBackends, /metadata/labels/{label}, /metadata/annotations/{journal}]
        target: {kind: Route, name: {route}}`},
	{PortNotOfService, Refusal, "route {namespace}/{route}: spec.port.targetPort {port} is no port of Service {service}", ""},

	{PercentOutOfRange, Refusal, "weight {percent} is out of range", "give a percentage from 0 to 100"},
	{SandboxNotReady, Failure, "the sandbox has no ready server", ""},
	{NoTraffic, Failure, "no backend of the Route carries traffic now: nothing can be shifted", ""},

	{ServiceMissing, Refusal, "route {namespace}/{route}: its Service {service} does not exist", "create it, or correct spec.to.name"},
	{ServiceWithoutSelector, Refusal, "route {namespace}/{route}: Service {service} has no selector, so there is no workload to clone", ""},
	{NoReadyPod, Refusal, "route {namespace}/{route}: Service {service} has no ready pod: a session clones a running program", ""},
	{OtherWorkload, Refusal, "route {namespace}/{route}: the pods of Service {service} belong to {others}, not to {workload}", ""},
	{ReplicaSetGone, Refusal, "pod {pod}: its ReplicaSet {owner} is gone", ""},
	{ReplicationControllerGone, Refusal, "pod {pod}: its ReplicationController {owner} is gone, or you may not read it", ""},
	{RevisionGone, Refusal, `pod {pod}: revision "{revision}" of {owner} is gone`, "restart the pod, so that it runs a known one"},
	{JobPods, Refusal, "pod {pod} belongs to Job {job}: a job runs to its end, and a second one would do its work twice", "debug a workload that serves"},
	{NoSuchContainer, Refusal, `{workload} has no container "{container}"; it has {containers}`, ""},
	{NoSuchVolume, Refusal, `{workload} has no volume "{volume}"; it has {volumes}`, ""},
	{GatewayProxy, Refusal, "{workload}: is {mesh}'s own proxy, with no program beside it", "debug a workload behind it, by a Route of that one's own"},
	{HostNamespaces, Refusal, "{workload}: uses the node's network, PID or IPC namespace, which a sandbox VM does not have", "debug it without hostNetwork, hostPID and hostIPC"},
	{ResourceClaims, Refusal, "{workload}: claims devices of the node ({claim}), which a sandbox VM does not have", "debug it without resourceClaims"},
	{ExtendedResource, Refusal, "{workload}: container {container} asks for {resource}, a device of the node which a sandbox VM does not have", "debug it on a replica without"},
	{RawDeviceVolume, Refusal, "{workload}: container {container} uses a volume as a raw device", "debug it without volumeDevices"},
	{HostPathVolume, Refusal, "{workload}: mounts the node's {path} (volume {volume}): the VM would share it read-write with its node", emptyOne},
	{VolumeKindUnsupported, Refusal, "{workload}: volume {volume} is of a kind that sandboxes may not mount (they may: {kinds})", emptyOne},
	{ClaimUnreadable, Refusal, "{workload}: claim {claim} (volume {volume}) can't be read: whether a second pod may mount it is not known", emptyOne},
	{ClaimInUse, Refusal, "{workload}: claim {claim} (volume {volume}) is {modes}: it can't be mounted beside the pod that has it", emptyOne},
	{ClaimOfMember, Refusal, "{workload}: claim {claim} (volume {volume}) has the data of member {member} alone: a second program that writes there would destroy it", emptyOne},
	{ClaimHasOneWriter, Refusal,
		"{workload}: claim {claim} (volume {volume}) is written by one pod only, and would be by the sandbox too: programs that don't expect that, as databases, lose data",
		"--empty-volume {volume} gives the sandbox an empty one instead; --force shares it, for programs that may run twice on it"},
	{SecondaryNetworks, Refusal, "{workload}: its pods have secondary networks ({networks}), which a sandbox does not get",
		"what it reaches by them fails in the sandbox; --force if users can do without"},

	{QuotaTooSmall, Refusal, "quota {quota}: {resource}: {used} of {hard} used, {pods} sandbox pod(s) need {need} more",
		"free some of the namespace's quota, ask for more, or give fewer --replicas"},

	{APIServerRefuses, Refusal, apiServerRefuses, ""},
	{PodSecurityForbids, Refusal, apiServerRefuses,
		"a namespace that holds sandboxes needs a label, and the sandbox policy still refuses every other privileged pod: 'oc label namespace {namespace} pod-security.kubernetes.io/enforce=privileged security.openshift.io/scc.podSecurityLabelSync=false --overwrite'"},
	{SCCNotGranted, Refusal, apiServerRefuses,
		"you have no grant to use SCC osc-debug-kata: have a cluster administrator apply '{osc-debug} manifests scc' and '{osc-debug} manifests rbac', then 'oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}'"},
	{SCCForbidsCapability, Refusal, apiServerRefuses,
		"a sandbox' own containers may have NET_BIND_SERVICE alone: have a cluster administrator add what this one needs to SCC osc-debug-kata (allowedCapabilities), and its image, by digest, to images of ConfigMap osc-debug in namespace osc-debug"},
	{SCCForbidsVolume, Refusal, apiServerRefuses, emptyInstead},
	{PolicyParamsMissing, Refusal, apiServerRefuses, "the sandbox policy finds no ConfigMap osc-debug in namespace osc-debug: have an administrator apply '{osc-debug} manifests guard'"},
	{RuntimeClassNotFound, Refusal, apiServerRefuses, "the cluster has no such RuntimeClass: install OpenShift sandboxed containers, or name another with --runtime-class"},
	{LimitRangeExceeded, Refusal, apiServerRefuses, "a LimitRange of the namespace does not let the pod in: 'oc describe limitrange' shows it"},
	{QuotaExceeded, Refusal, apiServerRefuses, "free some of the namespace's quota, or ask for more"},
	{QuotaWantsResources, Refusal, apiServerRefuses,
		"a quota of the namespace wants limits or requests of every container: give them to the workload's, or let a LimitRange set defaults"},
	{OwnerReferenceForbidden, Refusal, apiServerRefuses, "you lack a right that owner references need: roles edit and osc-debug-user have it"},
	{CustomHostForbidden, Refusal, apiServerRefuses, "the Route's host or certificate is protected: ask for permission routes/custom-host"},

	{SandboxNotInVM, Refusal, apiServerRefuses, "name one of those with --runtime-class, or have an administrator add it to runtimeClasses of ConfigMap osc-debug in namespace osc-debug"},
	{HostNamespaceNotAllowed, Refusal, apiServerRefuses, ""},
	{HostPortNotAllowed, Refusal, apiServerRefuses, ""},
	{VolumeKindNotAllowed, Refusal, apiServerRefuses, emptyInstead},
	{RawDeviceNotAllowed, Refusal, apiServerRefuses, ""},
	{NodeDeviceNotAllowed, Refusal, apiServerRefuses, ""},
	{RuntimeAnnotationNotAllowed, Refusal, apiServerRefuses, ""},
	{SELinuxNotAllowed, Refusal, apiServerRefuses, ""},
	{ImageNotAllowed, Refusal, apiServerRefuses,
		"have an administrator add the image, by digest, to images of ConfigMap osc-debug in namespace osc-debug: 'oc edit configmap osc-debug -n osc-debug' (on OpenShift, capabilities that it adds also to allowedCapabilities of SCC osc-debug-kata)"},
}
