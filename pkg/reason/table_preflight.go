package reason

// Reasons of a session's preflight: the Route, the program behind it, the caller's permissions, the
// namespace's limits, and rejections by the API server.
const (
	// The caller's permissions.
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
	SeveralWorkloads          Code = "SeveralWorkloads"
	RouteHasNoHost            Code = "RouteHasNoHost"
	OtherWorkload             Code = "OtherWorkload"
	SchedulingCountsSandbox   Code = "SchedulingCountsSandbox"
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
	NeverTwoPods              Code = "NeverTwoPods"
	NoSuchInitContainer       Code = "NoSuchInitContainer"
	NotLinux                  Code = "NotLinux"
	ManagedByOperator         Code = "ManagedByOperator"
	LeaseHeldByPod            Code = "LeaseHeldByPod"
	InitRunsAgain             Code = "InitRunsAgain"
	EnvironmentMissing        Code = "EnvironmentMissing"
	EnvironmentChanged        Code = "EnvironmentChanged"
	NoLimitsInVM              Code = "NoLimitsInVM"
	NotRecorded               Code = "NotRecorded"

	// The namespace's limits.
	QuotaTooSmall Code = "QuotaTooSmall"

	// Rejections by the API server, by plugin.
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

	// Rejections by the sandbox policy; the messages in manifests/policy/policy.yaml begin with these
	// codes.
	SandboxNotInVM          Code = "SandboxNotInVM"
	HostNamespaceNotAllowed Code = "HostNamespaceNotAllowed"
	HostPortNotAllowed      Code = "HostPortNotAllowed"
	VolumeKindNotAllowed    Code = "VolumeKindNotAllowed"
	RawDeviceNotAllowed     Code = "RawDeviceNotAllowed"
	NodeDeviceNotAllowed    Code = "NodeDeviceNotAllowed"
	AnnotationNotAllowed    Code = "AnnotationNotAllowed"
	FieldNotAllowed         Code = "FieldNotAllowed"
	SELinuxNotAllowed       Code = "SELinuxNotAllowed"
	ImageNotAllowed         Code = "ImageNotAllowed"
)

const (
	apiServerRefuses = "the API server rejected {object}: {why}"

	askForRole = `ask a cluster administrator to run:
  {osc-debug} manifests rbac | oc apply -f -
  oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}`
	emptyOne     = "give the sandbox an empty volume instead: --empty-volume {volume}"
	emptyInstead = "give the sandbox an empty volume instead: --empty-volume VOLUME"
)

var preflightReasons = []Reason{
	{PermissionsMissing, Refusal, "namespace {namespace}: {who} cannot {verbs}", askForRole},
	{ReadForbidden, Refusal, "{why}", askForRole},

	{RouteNotFound, Refusal, "route {namespace}/{route}: not found", "list the Routes: oc get routes -n {namespace}"},
	{RouteHasOwner, Refusal, "route {namespace}/{route}: managed by {owner}, which would revert any change", "use a Route that no controller manages"},
	{RouteNotAdmitted, Refusal, "route {namespace}/{route}: not admitted by any router ({why})",
		"see the Route's status: oc describe route {route} -n {namespace}"},
	{SchedulingCountsSandbox, Warning, "the {rule} counts every pod of the namespace, so the sandbox may be kept off nodes, or keep pods off its node", ""},
	{EnvironmentChanged, Warning, "{kind} {name} was changed at {changed}, after the original's pod had started ({started}); the sandbox gets the new values", ""},
	{NoLimitsInVM, Warning, "container {container} has no limit for {resources}, so it may use the whole node; in the sandbox's VM it has the runtime's default (with Kata 1 CPU and 2 GiB) and the sidecar's limits",
		"Use a smaller --weight or more --replicas, or give the program limits."},
	{NotRecorded, Warning, "with --separate-pids, the sandbox does not record from the program's start: --trace shows events while the command is connected", ""},
	{RouterNotServing, Warning, "router {router} does not serve the Route ({why}); the session does not affect its clients", ""},
	{RoutersNotProbed, Refusal, "route {namespace}/{route}: {count} routers serve it ({routers}), but only {probed} would be probed",
		"Use --router once for each router. To probe fewer, use --force; to probe none, use --no-probe."},
	{ExternalCertificate, Refusal, "route {namespace}/{route}: spec.tls.externalCertificate is set, so any change needs permission for routes/custom-host",
		"put the certificate into the Route itself for the session (spec.tls.certificate and spec.tls.key)"},
	{DestinationCAMissing, Refusal, "route {namespace}/{route}: re-encrypts without a destination CA, so the router expects a certificate for the sandbox Service's name",
		"Set spec.tls.destinationCACertificate. Or use an OpenShift serving certificate (annotation service.beta.openshift.io/serving-cert-secret-name on the Service, mounted by its pods); the sandbox then gets its own."},
	{AlternateBackendsFull, Refusal, "route {namespace}/{route}: {count} alternate backends exist, the maximum that OpenShift allows", "remove one of them first"},
	{BackendNamedTwice, Refusal, "route {namespace}/{route}: Service {service} is both the primary and an alternate backend, so the router uses only its last weight", "remove it from spec.alternateBackends"},
	{BalanceIgnoresWeights, Refusal, "route {namespace}/{route}: balance algorithm {balance} ignores weights", "remove annotation haproxy.router.openshift.io/balance, or set it to roundrobin"},
	{ServiceIdled, Refusal, "route {namespace}/{route}: Service {service} was idled at {since} and has no pods", "send a request to the Route to wake the Service, then try again"},
	{NoReadyBackend, Refusal, "route {namespace}/{route}: no backend with a weight has a ready endpoint on the Route's port, so users get 503", "get a pod of one of these backends ready first"},
	{PrimaryServesNobody, Refusal, "route {namespace}/{route}: users are not on its primary Service {service}, but on {others}",
		"The sandbox clones the workload of the primary Service. Make the Service that users are on the primary (spec.to), or use --force to send users to a clone of this one."},
	{ArgoCDAppliesRoute, Refusal, "route {namespace}/{route}: managed by Argo CD, which would revert the session's weights", `add this to its Application, then use --force:
  spec:
    syncPolicy:
      syncOptions: [RespectIgnoreDifferences=true]
    ignoreDifferences:
    - group: route.openshift.io
      kind: Route
      name: {route}
      jsonPointers: [/spec/to/weight, /spec/alternateBackends, /metadata/labels/{label}, /metadata/annotations/{journal}]`},
	{FluxAppliesRoute, Refusal, "route {namespace}/{route}: managed by Flux (Kustomization {kustomization}), which would revert the session's weights",
		`stop Flux from reconciling the Route during the session (--force is not needed then):
  oc annotate route {route} -n {namespace} kustomize.toolkit.fluxcd.io/reconcile=disabled`},
	{HelmReleaseAppliesRoute, Refusal, "route {namespace}/{route}: managed by Flux (HelmRelease {release}), which may revert the session's weights",
		`add this to the HelmRelease, then use --force:
  spec:
    driftDetection:
      ignore:
      - paths: [/spec/to/weight, /spec/alternateBackends, /metadata/labels/{label}, /metadata/annotations/{journal}]
        target: {kind: Route, name: {route}}`},
	{PortNotOfService, Refusal, "route {namespace}/{route}: spec.port.targetPort {port} is not a port of Service {service}", "set spec.port.targetPort to a port of the Service: oc describe service {service} -n {namespace}"},

	{PercentOutOfRange, Refusal, "weight {percent} is out of range", "use a percentage from 0 to 100"},
	{SandboxNotReady, Failure, "the sandbox has no ready endpoint", ""},
	{NoTraffic, Failure, "no backend of the Route carries traffic, so there is nothing to shift", ""},

	{ServiceMissing, Refusal, "route {namespace}/{route}: primary Service {service} not found", "create the Service, or correct spec.to.name"},
	{ServiceWithoutSelector, Refusal, "route {namespace}/{route}: Service {service} has no selector, so there is no workload to clone", ""},
	{NoReadyPod, Refusal, "route {namespace}/{route}: Service {service} has no ready pod to clone", "find out why no pod is ready: oc get pods -n {namespace}"},
	{RouteHasNoHost, Refusal, "route {namespace}/{route} has no host yet: no router has given it one", "wait until a router admits the Route, or do without the proof with --no-probe"},
	{SeveralWorkloads, Refusal, "route {namespace}/{route}: Service {service} leads to several workloads: {workloads}", "say which one to clone, for example: --workload {most}"},
	{OtherWorkload, Refusal, "route {namespace}/{route}: the pods of Service {service} belong to {others}, not to {workload}", "correct --workload, or leave it out"},
	{ReplicaSetGone, Refusal, "pod {pod}: its ReplicaSet {owner} no longer exists", ""},
	{ReplicationControllerGone, Refusal, "pod {pod}: its ReplicationController {owner} no longer exists, or you cannot read it", ""},
	{RevisionGone, Refusal, `pod {pod}: revision "{revision}" of {owner} no longer exists`, "restart the pod so that it runs a revision that exists"},
	{JobPods, Refusal, "pod {pod} belongs to Job {job}, and a clone would run the job a second time", "use a Route whose workload is not a Job"},
	{NoSuchContainer, Refusal, `{workload} has no container "{container}" (it has {containers})`, ""},
	{NoSuchVolume, Refusal, `{workload} has no volume "{volume}" (it has {volumes})`, ""},
	{GatewayProxy, Refusal, "{workload}: runs only the {mesh} proxy, so there is no application to clone", "debug a workload behind the proxy, through a Route of its own"},
	{HostNamespaces, Refusal, "{workload}: uses the node's network, PID or IPC namespace, which a sandbox VM does not have", "debug a copy of it without hostNetwork, hostPID and hostIPC"},
	{ResourceClaims, Refusal, "{workload}: claims devices of the node ({claim}), which a sandbox VM does not have", "debug a copy of it without resourceClaims"},
	{ExtendedResource, Refusal, "{workload}: container {container} requests {resource}, a device of the node that a sandbox VM does not have", "debug a copy of it that does not request the device"},
	{RawDeviceVolume, Refusal, "{workload}: container {container} uses a volume as a raw device, which a sandbox cannot", "debug a copy of it without volumeDevices"},
	{HostPathVolume, Refusal, "{workload}: volume {volume} mounts {path} of the node, which the VM would share read-write", emptyOne},
	{VolumeKindUnsupported, Refusal, "{workload}: volume {volume} is of a kind that a sandbox cannot mount (allowed: {kinds})", emptyOne},
	{ClaimUnreadable, Refusal, "{workload}: claim {claim} (volume {volume}) cannot be read, so it is unknown whether a second pod may mount it", emptyOne},
	{ClaimInUse, Refusal, "{workload}: claim {claim} (volume {volume}) is {modes} and cannot be mounted by a second pod", emptyOne},
	{ClaimOfMember, Refusal, "{workload}: claim {claim} (volume {volume}) holds the data of pod {member} alone, which a second writer would destroy", emptyOne},
	{ClaimHasOneWriter, Refusal,
		"{workload}: claim {claim} (volume {volume}) is written by one pod only, and some programs, such as databases, lose data if the sandbox writes to it too",
		"Give the sandbox an empty volume with --empty-volume {volume}. Use --force to share the volume if the program can safely run twice on it."},
	{NotLinux, Refusal, "{workload}: its pods run on {os}, and a sandbox runs Linux", ""},
	{NoSuchInitContainer, Refusal, "{workload} has no init container {container}; it has: {containers}", "correct --skip-init"},
	{NeverTwoPods, Refusal, "{workload} never runs two pods at once (one replica, strategy Recreate), and the sandbox would be a second one",
		"Use --force if the program can run twice for the time of the session."},
	{ManagedByOperator, Refusal, "{workload} is managed by an operator ({kind}), which does not know the sandbox; the program may treat it as a member of its cluster",
		"Use --force if the program can run twice, and its operator does not mind."},
	{LeaseHeldByPod, Refusal, "{workload}: pod {pod} holds Lease {lease}, so only one of its pods may do some of the work; the sandbox may wait for the Lease, or take it over",
		"Use --force if the program may do that during the session."},
	{InitRunsAgain, Refusal, "{workload}: init container {container} would run again in the sandbox, and some, such as migrations, must run only once",
		"Skip it with --skip-init {container}. Use --force if it can run again."},
	{EnvironmentMissing, Refusal, "{workload}: {kind} {name} no longer exists, so a new pod of it cannot start", "create it again; the next restart of the original fails too"},
	{SecondaryNetworks, Refusal, "{workload}: its pods have secondary networks ({networks}), which the sandbox does not get",
		"Anything reached over these networks fails in the sandbox. Use --force if users can do without it."},

	{QuotaTooSmall, Refusal, "quota {quota}: {used} of {hard} {resource} used, but the session needs {need} more (sandbox pods: {pods})",
		"free some of the quota, ask for a larger one, or use fewer --replicas"},

	{APIServerRefuses, Refusal, apiServerRefuses, ""},
	{PodSecurityForbids, Refusal, apiServerRefuses,
		`The namespace must allow privileged pods; SCCs and the sandbox policy still restrict them. Ask an administrator to run:
  oc label namespace {namespace} pod-security.kubernetes.io/enforce=privileged security.openshift.io/scc.podSecurityLabelSync=false --overwrite`},
	{SCCNotGranted, Refusal, apiServerRefuses,
		`You cannot use SCC osc-debug-kata, which is safe only with the sandbox policy. Ask a cluster administrator to run:
  {osc-debug} manifests policy | oc apply -f -
  {osc-debug} manifests scc | oc apply -f -
  {osc-debug} manifests rbac | oc apply -f -
  oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}`},
	{SCCForbidsCapability, Refusal, apiServerRefuses,
		`SCC osc-debug-kata allows only NET_BIND_SERVICE. Ask an administrator to add the capability to its allowedCapabilities, and the image digest to data.images in ConfigMap osc-debug/osc-debug:
  oc edit scc osc-debug-kata
  oc edit configmap osc-debug -n osc-debug`},
	{SCCForbidsVolume, Refusal, apiServerRefuses, emptyInstead},
	{PolicyParamsMissing, Refusal, apiServerRefuses, `The sandbox policy needs ConfigMap osc-debug/osc-debug. Ask a cluster administrator to run:
  {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -`},
	{RuntimeClassNotFound, Refusal, apiServerRefuses, "install OpenShift sandboxed containers, or use another RuntimeClass with --runtime-class"},
	{LimitRangeExceeded, Refusal, apiServerRefuses, "see the namespace's LimitRanges: oc describe limitrange -n {namespace}"},
	{QuotaExceeded, Refusal, apiServerRefuses, "see what is used, then free some of the quota or ask for more: oc describe quota -n {namespace}"},
	{QuotaWantsResources, Refusal, apiServerRefuses,
		"A quota of the namespace requires limits or requests on every container. Set them on the workload's containers, or have a LimitRange set defaults."},
	{OwnerReferenceForbidden, Refusal, apiServerRefuses, `You need role edit or osc-debug-user to set owner references. Ask a cluster administrator to run:
  oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}`},
	{CustomHostForbidden, Refusal, apiServerRefuses, "ask an administrator for permission to update routes/custom-host, which protects the Route's host and certificate"},

	{SandboxNotInVM, Refusal, apiServerRefuses, "use one of these with --runtime-class, or ask an administrator to add yours to data.runtimeClasses in ConfigMap osc-debug/osc-debug"},
	{HostNamespaceNotAllowed, Refusal, apiServerRefuses, ""},
	{HostPortNotAllowed, Refusal, apiServerRefuses, ""},
	{VolumeKindNotAllowed, Refusal, apiServerRefuses, emptyInstead},
	{RawDeviceNotAllowed, Refusal, apiServerRefuses, ""},
	{NodeDeviceNotAllowed, Refusal, apiServerRefuses, ""},
	{FieldNotAllowed, Refusal, apiServerRefuses, "this version of osc-debug does not know these fields; ask an administrator whether a newer 'osc-debug manifests policy' does"},
	{AnnotationNotAllowed, Refusal, apiServerRefuses, "ask an administrator to add the annotations' domains to data.annotations in ConfigMap osc-debug/osc-debug"},
	{SELinuxNotAllowed, Refusal, apiServerRefuses, ""},
	{ImageNotAllowed, Refusal, apiServerRefuses,
		`Ask an administrator to add the image, by digest, to data.images. On OpenShift, capabilities that the container adds must also be in the SCC's allowedCapabilities:
  oc edit configmap osc-debug -n osc-debug
  oc edit scc osc-debug-kata`},
}
