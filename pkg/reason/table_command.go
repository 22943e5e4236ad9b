package reason

// Reasons why commands fail, apart from a session's preflight, and how they end.
const (
	WrongUsage            Code = "WrongUsage"
	NoCluster             Code = "NoCluster"
	TTLTooLong            Code = "TTLTooLong"
	DrainTooLong          Code = "DrainTooLong"
	TooLongExtension      Code = "TooLongExtension"
	RuntimeClassForbidden Code = "RuntimeClassForbidden"
	ImageForbidden        Code = "ImageForbidden"
	GuardImageUnpublished Code = "GuardImageUnpublished"

	// Selecting a session.
	SessionsForbidden     Code = "SessionsForbidden"
	NoSession             Code = "NoSession"
	NoSessionOnRoute      Code = "NoSessionOnRoute"
	NoSuchSession         Code = "NoSuchSession"
	SeveralSessions       Code = "SeveralSessions"
	OtherSessionOnRoute   Code = "OtherSessionOnRoute"
	JournalNamesNoSession Code = "JournalNamesNoSession"

	// Ending a session.
	NoGuardForSandbox     Code = "NoGuardForSandbox"
	ConnectionsNotChecked Code = "ConnectionsNotChecked"
	OriginalMayBeShrunk   Code = "OriginalMayBeShrunk"
	RolledBackChanged     Code = "RolledBackChanged"
	SessionMayGoOn        Code = "SessionMayGoOn"
	CleanupIncomplete     Code = "CleanupIncomplete"
	SandboxHeld           Code = "SandboxHeld"
	InterruptedBeforeLive Code = "InterruptedBeforeLive"

	// Output of status and doctor.
	SessionPastItsTime Code = "SessionPastItsTime"
	BackendRemoved     Code = "BackendRemoved"
	NotServedYet       Code = "NotServedYet"
	ChecksFoundMissing Code = "ChecksFoundMissing"

	// Tracing.
	ContainerNotRunning Code = "ContainerNotRunning"
	TraceFramesLost     Code = "TraceFramesLost"
	EventsLost          Code = "EventsLost"
	PacketsDropped      Code = "PacketsDropped"
	RecordingDamaged    Code = "RecordingDamaged"
	FileNotCopied       Code = "FileNotCopied"
	NoRunningSandboxPod Code = "NoRunningSandboxPod"
)

var commandReasons = []Reason{
	{WrongUsage, Refusal, "{why}", "see '{command} --help' for usage"},
	{NoCluster, Refusal, "cannot load the cluster configuration: {why}", "log in with 'oc login', or name a kubeconfig file with --kubeconfig"},
	{TTLTooLong, Refusal, "a session of {ttl} is longer than the administrator allows", "set --ttl (and --for) to {longest} at most"},
	{
		DrainTooLong, Refusal, "--drain={drain} is too long: the guard deletes a sandbox {longest} after its traffic goes back",
		"use a shorter --drain, or ask an administrator to raise data.drain in ConfigMap osc-debug",
	},
	{TooLongExtension, Refusal, "session {session}: cannot last beyond {latest}", "extend it by {longest} at most"},
	{RuntimeClassForbidden, Refusal, "--runtime-class={class}: the administrator allows only {allowed}", "use an allowed one, or ask an administrator to add it to data.runtimeClasses in ConfigMap osc-debug"},
	{ImageForbidden, Refusal, "--sidecar-image={image}: the administrator allows only {allowed}", "use an allowed one, or ask an administrator to add it to data.images in ConfigMap osc-debug"},
	{GuardImageUnpublished, Warning, "without --image, the manifests name {image}, which is not published", ""},

	{
		SessionsForbidden, Refusal, "{why}",
		`ask a cluster administrator for role osc-debug-viewer, to see sessions, or osc-debug-user, to run and end them:
  {osc-debug} manifests rbac | oc apply -f -
  oc create rolebinding osc-debug --clusterrole=osc-debug-user --user={user} -n {namespace}`,
	},
	{NoSession, Refusal, "namespace {namespace}: no session", ""},
	{NoSessionOnRoute, Refusal, "route {namespace}/{route}: no session", ""},
	{NoSuchSession, Refusal, "namespace {namespace}: session {session} not found", "list the sessions: {osc-debug} status -n {namespace}"},
	{SeveralSessions, Refusal, "namespace {namespace} has {sessions} sessions", "name one with --route or --session"},
	{OtherSessionOnRoute, Refusal, "route {namespace}/{route}: has session {session}, not {asked}", ""},
	{
		JournalNamesNoSession, Refusal, "route {namespace}/{route}: its journal cannot be read ({why}), and no other mark names the session",
		"remove the journal annotation: oc annotate route {route} -n {namespace} {annotation}-",
	},

	{NoGuardForSandbox, Refusal, "--wait=false leaves the sandbox to a guard, but none is running ({why})", "leave out --wait=false"},
	{ConnectionsNotChecked, Warning, "cannot list EndpointSlices ({why}): open connections and --router are not checked", ""},
	{
		OriginalMayBeShrunk, Warning,
		"HorizontalPodAutoscaler {autoscaler} may have scaled {workload} down ({pods} pods now), and {share} of new clients return to it at once ({why})", "",
	},
	{RolledBackChanged, Failure, "route {namespace}/{route}: rolled back; {kept}{because}", ""},
	{SessionMayGoOn, Failure, "{why}; the session may still be running", "end it: {osc-debug} rollback --route {route} -n {namespace}"},
	{CleanupIncomplete, Failure, "{why}", "finish the cleanup: {osc-debug} rollback --route {route} -n {namespace}"},
	{
		SandboxHeld, Failure, "route {namespace}/{route}: {why}; the sandbox is held without traffic until {until}",
		`inspect the sandbox ('oc logs' works too), resume the session, or end it:
  {osc-debug} exec --route {route} -n {namespace}
  {osc-debug} weight PERCENT --route {route} -n {namespace}
  {osc-debug} rollback --route {route} -n {namespace}`,
	},
	{InterruptedBeforeLive, Failure, "interrupted before the session was live; everything was undone", ""},

	{SessionPastItsTime, Warning, "the session is past its end time", "end it: {osc-debug} rollback --route {route} -n {namespace}"},
	{NotServedYet, Warning, "a backend's servers changed, and the share is not served yet: a router with the dynamic configuration manager has to reload first", ""},
	{BackendRemoved, Warning, "someone else removed the sandbox's backend from the Route", ""},
	{ChecksFoundMissing, Failure, "namespace {namespace}: {lacking} of {checks} checks failed", ""},

	{ContainerNotRunning, Warning, "container {container} is not running", ""},
	{RecordingDamaged, Failure, "the recording in {pod} is damaged: {why}", ""},
	{FileNotCopied, Failure, "{path} was not copied: {why}", ""},
	{EventsLost, Failure, "events were lost: see the ledgers", "trace fewer gadgets, or use --filter"},
	{PacketsDropped, Failure, "the kernel dropped packets: see the counts", "use a filter, or a smaller --snaplen"},
	{NoRunningSandboxPod, Failure, "no pod of session {session} is running", "see why: oc get pods -n {namespace} -l osc-debug.dev/session={session}"},
	{TraceFramesLost, Warning, "the trace stream lost frames ({got} came after {last})", ""},
}
