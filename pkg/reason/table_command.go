package reason

// What the commands refuse beside a session's preflight, and how they end.
const (
	WrongUsage            Code = "WrongUsage"
	NoCluster             Code = "NoCluster"
	TTLTooLong            Code = "TTLTooLong"
	DrainTooLong          Code = "DrainTooLong"
	TooLongExtension      Code = "TooLongExtension"
	RuntimeClassForbidden Code = "RuntimeClassForbidden"
	ImageForbidden        Code = "ImageForbidden"
	GuardImageUnpublished Code = "GuardImageUnpublished"

	// Which session is meant.
	NoSession             Code = "NoSession"
	NoSessionOnRoute      Code = "NoSessionOnRoute"
	NoSuchSession         Code = "NoSuchSession"
	SeveralSessions       Code = "SeveralSessions"
	OtherSessionOnRoute   Code = "OtherSessionOnRoute"
	JournalNamesNoSession Code = "JournalNamesNoSession"

	// Ending a session.
	NoGuardForSandbox     Code = "NoGuardForSandbox"
	ConnectionsNotTold    Code = "ConnectionsNotTold"
	OriginalMayBeShrunk   Code = "OriginalMayBeShrunk"
	RolledBackChanged     Code = "RolledBackChanged"
	SessionMayGoOn        Code = "SessionMayGoOn"
	CleanupIncomplete     Code = "CleanupIncomplete"
	SandboxHeld           Code = "SandboxHeld"
	InterruptedBeforeLive Code = "InterruptedBeforeLive"

	// What status and doctor show.
	SessionPastItsTime Code = "SessionPastItsTime"
	BackendRemoved     Code = "BackendRemoved"
	ChecksFoundMissing Code = "ChecksFoundMissing"

	// Tracing.
	ContainerNotRunning Code = "ContainerNotRunning"
	TraceFramesLost     Code = "TraceFramesLost"
)

var commandReasons = []Reason{
	{WrongUsage, Refusal, "{why}", "See '{command} --help'."},
	{NoCluster, Refusal, "no cluster to talk to: {why}", "log in with 'oc login', or name a file with --kubeconfig"},
	{TTLTooLong, Refusal, "a session of {ttl} is longer than the administrator allows", "give --ttl (and --for) up to {longest}"},
	{
		DrainTooLong, Refusal, "--drain {drain}: the guard deletes a sandbox {longest} after its traffic went back",
		"have an administrator raise drain in ConfigMap osc-debug",
	},
	{TooLongExtension, Refusal, "session {session}: may not live beyond {latest}", "extend by {longest} at most"},
	{RuntimeClassForbidden, Refusal, "--runtime-class={class}: this cluster's administrator allows runtime class {allowed}", ""},
	{ImageForbidden, Refusal, "--sidecar-image={image}: this cluster's administrator allows sidecar image {allowed}", ""},
	{GuardImageUnpublished, Warning, "without --image the manifests name {image}, which nobody publishes", ""},

	{NoSession, Refusal, "namespace {namespace}: no session", ""},
	{NoSessionOnRoute, Refusal, "route {namespace}/{route}: no session is on it", ""},
	{NoSuchSession, Refusal, "namespace {namespace}: no Route has session {session}", "'{osc-debug} status' lists what there is"},
	{SeveralSessions, Refusal, "namespace {namespace}: {sessions} sessions", "name one with --route or --session"},
	{OtherSessionOnRoute, Refusal, "route {namespace}/{route}: session {session} is on it, not {asked}", ""},
	{
		JournalNamesNoSession, Refusal, "route {namespace}/{route}: its journal can't be read ({why}) and no other mark names the session",
		"remove annotation {annotation} by hand",
	},

	{NoGuardForSandbox, Refusal, "--wait=false leaves the sandbox to a guard, and none stands by: {why}", ""},
	{ConnectionsNotTold, Warning, "connections that are cut are not told, and --router is not asked: list EndpointSlices: {why}", ""},
	{
		OriginalMayBeShrunk, Warning,
		"HorizontalPodAutoscaler {autoscaler} may have shrunk {workload} ({pods} pods now): {share} of new clients come back to it at once ({why})", "",
	},
	{RolledBackChanged, Failure, "route {namespace}/{route}: rolled back; somebody else had changed it meanwhile, and that change stayed{because}", ""},
	{SessionMayGoOn, Failure, "{why}: the session may not be over", "finish with '{osc-debug} rollback --route {route} -n {namespace}'"},
	{CleanupIncomplete, Failure, "{why}", "finish with '{osc-debug} rollback --route {route} -n {namespace}'"},
	{
		SandboxHeld, Failure, "route {namespace}/{route}: {why}. The sandbox is held until {until}, without traffic",
		"look at it with 'oc logs' and '{osc-debug} exec', resume with '{osc-debug} weight', end it with '{osc-debug} rollback --route {route} -n {namespace}'",
	},
	{InterruptedBeforeLive, Failure, "interrupted before the session was live: everything is undone", ""},

	{SessionPastItsTime, Warning, "past its time", "end it with '{osc-debug} rollback --route {route} -n {namespace}'"},
	{BackendRemoved, Warning, "somebody removed its backend from the Route", ""},
	{ChecksFoundMissing, Failure, "namespace {namespace}: {lacking} of {checks} checks found something missing", ""},

	{ContainerNotRunning, Warning, "container {container} does not run", ""},
	{TraceFramesLost, Warning, "the stream lost frames: {got} came after {last}", ""},
}
