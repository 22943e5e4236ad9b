package reason

// Reasons of a session: its marks on the Route, shifting traffic to the sandbox, and restoring it.
const (
	// The Route and its marks.
	RouteInSession        Code = "RouteInSession"
	RouteChanged          Code = "RouteChanged"
	RouteRecreated        Code = "RouteRecreated"
	SessionRemoved        Code = "SessionRemoved"
	SessionHeld           Code = "SessionHeld"
	SessionGone           Code = "SessionGone"
	SessionEnding         Code = "SessionEnding"
	SessionStillArming    Code = "SessionStillArming"
	SessionIDInvalid      Code = "SessionIDInvalid"
	BackendAdded          Code = "BackendAdded"
	WeightChanged         Code = "WeightChanged"
	JournalTooLong        Code = "JournalTooLong"
	JournalMalformed      Code = "JournalMalformed"
	JournalVersionUnknown Code = "JournalVersionUnknown"
	JournalContradictory  Code = "JournalContradictory"

	// Shifting traffic, and while the session is live.
	TooMuchLoad               Code = "TooMuchLoad"
	SelectsEveryPod           Code = "SelectsEveryPod"
	ServiceSelectsEveryPod    Code = "ServiceSelectsEveryPod"
	BudgetSelectsEveryPod     Code = "BudgetSelectsEveryPod"
	GuardNotRunning           Code = "GuardNotRunning"
	RouterNotReached          Code = "RouterNotReached"
	RouterAnswers503          Code = "RouterAnswers503"
	CannotBeWeighed           Code = "CannotBeWeighed"
	NoReadySandboxPod         Code = "NoReadySandboxPod"
	TooMuchForSandbox         Code = "TooMuchForSandbox"
	TimedOut                  Code = "TimedOut"
	ContainerEnded            Code = "ContainerEnded"
	ContainerNotStarted       Code = "ContainerNotStarted"
	GadgetsUnavailable        Code = "GadgetsUnavailable"
	ContainerStuck            Code = "ContainerStuck"
	PodUnschedulable          Code = "PodUnschedulable"
	PodFailed                 Code = "PodFailed"
	PodDeleted                Code = "PodDeleted"
	SandboxAnswersWorse       Code = "SandboxAnswersWorse"
	RouterDoesNotReachSandbox Code = "RouterDoesNotReachSandbox"
	GuardStoppedRenewing      Code = "GuardStoppedRenewing"
	CanaryNotAnswered         Code = "CanaryNotAnswered"
	UsersNotAnswered          Code = "UsersNotAnswered"
	RouterSendsNothing        Code = "RouterSendsNothing"
	SessionEndedMeanwhile     Code = "SessionEndedMeanwhile"
	ShareTakenBack            Code = "ShareTakenBack"
	TrafficNotTakenBack       Code = "TrafficNotTakenBack"
	SessionExpired            Code = "SessionExpired"
	SandboxUnready            Code = "SandboxUnready"
	GuardHeldSession          Code = "GuardHeldSession"
	RolloutEndedSession       Code = "RolloutEndedSession"
	RolloutHappened           Code = "RolloutHappened"
	MarksRemoved              Code = "MarksRemoved"
	WeightChangedByOthers     Code = "WeightChangedByOthers"
	ReloadNotForced           Code = "ReloadNotForced"
	StepsStopped              Code = "StepsStopped"
	EndsEarlier               Code = "EndsEarlier"
	NotProven                 Code = "NotProven"
	NotVerified               Code = "NotVerified"
	TracerDidNotEnd           Code = "TracerDidNotEnd"
	EventNotWritten           Code = "EventNotWritten"
	MeshProxyLeftOff          Code = "MeshProxyLeftOff"
	PolicyApart               Code = "PolicyApart"
	PolicyStrangers           Code = "PolicyStrangers"
	AutoscalerMayShrink       Code = "AutoscalerMayShrink"
	DetachedMayShrink         Code = "DetachedMayShrink"
	RightsToListMissing       Code = "RightsToListMissing"

	// Restoring the Route.
	SandboxOnlyBackend Code = "SandboxOnlyBackend"
	BackendLeftBehind  Code = "BackendLeftBehind"
	SandboxStillUsed   Code = "SandboxStillUsed"
	ObjectsLeftBehind  Code = "ObjectsLeftBehind"
	ConnectionsOpen    Code = "ConnectionsOpen"
	NotGradual         Code = "NotGradual"
	ServersNotRecorded Code = "ServersNotRecorded"
)

var sessionReasons = []Reason{
	// The Route and its marks.
	{RouteInSession, Refusal, "route {namespace}/{route}: already has session {session} of {who} ({state})",
		"wait for it to end, or end it now: {osc-debug} rollback --route {route} -n {namespace}"},
	{RouteChanged, Failure, "route {namespace}/{route}: changed by someone else while the session was being prepared", "run the command again"},
	{RouteRecreated, Failure, "route {namespace}/{route}: was deleted and recreated", ""},
	{SessionRemoved, Failure, "route {namespace}/{route}: session {session} was removed from it by the guard or another user", ""},
	{SessionHeld, Failure, "route {namespace}/{route}: session {session} is now held because its sandbox was not ready", ""},
	{SessionGone, Refusal, "route {namespace}/{route}: session {session} is no longer on it", ""},
	{SessionEnding, Refusal, "route {namespace}/{route}: session {session} is ending", ""},
	{SessionStillArming, Refusal, "route {namespace}/{route}: session {session} is still being prepared", "wait until it is live: {osc-debug} status -n {namespace} -w"},
	{SessionIDInvalid, Failure, "{session} is not a session ID", ""},
	{BackendAdded, Failure, "route {namespace}/{route}: backend {service} was added by someone else", "run the command again"},
	{WeightChanged, Failure, "route {namespace}/{route}: the weight of {service} was changed by someone else while the session was being prepared", "run the command again"},
	{JournalTooLong, Refusal, "journal: {size} bytes exceed the limit of {limit}", ""},
	{JournalMalformed, Refusal, "journal: cannot be parsed: {why}", ""},
	{JournalVersionUnknown, Refusal, "journal: version {version} is not supported by this osc-debug", "use a newer osc-debug"},
	{JournalContradictory, Refusal, "journal: inconsistent: {why}", ""},

	// Refused before anything is changed.
	{TooMuchLoad, Refusal, "{workload}: {percent} % of the Route's traffic is the load of {load} of its pods, too much for {pods} sandbox pods",
		"use --weight {possible} or less, or set --replicas"},
	{SelectsEveryPod, Refusal, "{selector} selects every pod in namespace {namespace}, so it would also select the sandbox of {workload}",
		"give it a narrower selector"},
	{ServiceSelectsEveryPod, Refusal, "{selector} selects every pod in namespace {namespace}, so the sandbox of {workload} would also get its traffic",
		"give it a narrower selector, or use --force to start the session anyway"},
	{BudgetSelectsEveryPod, Refusal,
		"{selector} selects every pod in namespace {namespace}, so it would also count the sandbox of {workload} and allow one more eviction of the original's pods",
		"give it a narrower selector, or use --force to start the session anyway"},
	{GuardNotRunning, Refusal, "no guard is running for this namespace ({why})",
		`ask a cluster administrator to install the guard and enable this namespace:
  {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -
or use --no-guard; the session then ends with its '{osc-debug} shift' command`},
	{RouterNotReached, Refusal, "{why}", "give the router's address with --router, or skip the proof with --no-probe"},
	{RouterAnswers503, Refusal, "{router} already answers 503, before any change", "fix the Route first"},
	{CannotBeWeighed, Refusal, "route {namespace}/{route}: session {session} is {state}; only a live or held session can change its weight", ""},
	{NoReadySandboxPod, Refusal, "route {namespace}/{route}: session {session} has no ready sandbox pod", "look at the pods: oc get pods -n {namespace} -l {label}={session}"},
	{TooMuchForSandbox, Refusal, "route {namespace}/{route}: {percent} % is the load of {load} pods of {service}, too much for {pods} sandbox pod(s)",
		"use a weight of {possible} or less, start another session with more --replicas, or use --force"},

	// Warnings of a plan.
	{MeshProxyLeftOff, Warning, "the sandbox runs without the {mesh} proxy, so peers that require mutual TLS reject it", ""},
	{PolicyApart, Warning, "NetworkPolicy {policy} selects the sandbox but not the original, so the two can reach different peers", ""},
	{PolicyStrangers, Warning, "NetworkPolicy {policy} may allow the original but not the sandbox, depending on the labels of this namespace", ""},
	{AutoscalerMayShrink, Warning,
		"HorizontalPodAutoscaler {autoscaler} may scale {workload} down during the session ({ready} ready now, minimum {least}); if it does, traffic goes back gradually", ""},
	{DetachedMayShrink, Warning,
		"HorizontalPodAutoscaler {autoscaler} may scale {workload} down during the session ({ready} ready now, minimum {least}), but the guard gives all traffic back at once",
		"raise {field} for the session, or leave out --detach to shift traffic back gradually"},
	{RightsToListMissing, Warning, "you cannot list {kinds} here, so their effect on the sandbox is unknown", "ask an administrator for ClusterRole osc-debug-user, which may list them"},

	// The sandbox and its proof.
	{TimedOut, Failure, "{what}: timed out after {took}", ""},
	{ContainerEnded, Failure, "sandbox pod {pod}: container {container} exited with code {status} ({why})", "see its last output: oc logs -n {namespace} {pod} -c {container}"},
	{GadgetsUnavailable, Failure, "the sandbox cannot trace what --trace asks for: {gadgets}", "leave out --trace, or use --force to start the session without these gadgets"},
	{ContainerNotStarted, Failure, "sandbox pod {pod}: container {container} could not be started: {why}", ""},
	{ContainerStuck, Failure, "sandbox pod {pod}: container {container} cannot start: {state}: {why}", ""},
	{PodUnschedulable, Failure, "sandbox pod {pod} cannot be scheduled: {why}", "find the nodes that can run it: oc get runtimeclass {class} -o yaml"},
	{PodFailed, Failure, "sandbox pod {pod} failed: {why}", ""},
	{PodDeleted, Failure, "sandbox pod {pod} is being deleted", ""},
	{NotProven, Warning, "sandbox not proven ({why}); starting with the smallest share", ""},
	{SandboxAnswersWorse, Failure, "sandbox pod {pod} answers {status} where the original answers {before}; no users were sent to the sandbox",
		"Use --force if that is what you want. It does not lift this for server errors (5xx)."},
	{RouterDoesNotReachSandbox, Failure,
		"sandbox pod {pod} is ready, but the router did not reach it within {within} (last answer {status}, error {why}); no users were sent to it",
		"check whether a NetworkPolicy blocks the router or re-encryption fails"},

	// Shares.
	{GuardStoppedRenewing, Failure, "guard {guard} has stopped renewing its Lease; no more users are sent to the sandbox", "ask an administrator to check the guard: oc get pods -A -l app.kubernetes.io/name=osc-debug-guard"},
	{CanaryNotAnswered, Failure, "users get errors with the smallest share on the sandbox: {router} answers {status} ({why}) instead of {before}", ""},
	{NotVerified, Warning, "traffic not verified (--no-probe)", ""},
	{UsersNotAnswered, Failure, "users get errors: {router} answers {status} ({why}) instead of {before}", ""},
	{RouterSendsNothing, Failure, "the router does not send the expected traffic to the sandbox ({seen} of {asked} requests within {within})", ""},
	{SessionEndedMeanwhile, Failure, "the session was ended by the guard or another user before it was verified", ""},
	{ShareTakenBack, Failure, "{why}; the session is now held", ""},
	{TrafficNotTakenBack, Failure, "cannot take the traffic back from the sandbox: {why}", "end the session: {osc-debug} rollback --route {route} -n {namespace}"},
	{EndsEarlier, Warning, "the sandbox pods took {took} to become ready; the session ends {earlier} earlier than requested, within the pods' deadline and the administrator's maxDuration", ""},
	{EventNotWritten, Warning, "cannot write an Event: {why}", ""},

	// While the session is live.
	{SessionExpired, Failure, "the session reached its time limit of {ttl}", "next time, use a longer --ttl or extend the live session: {osc-debug} extend 30m -n {namespace}"},
	{SandboxUnready, Failure, "the sandbox is no longer ready, so its traffic goes back to the original", ""},
	{GuardHeldSession, Failure, "the guard found the sandbox not ready and gave its traffic back to the original", ""},
	{RolloutEndedSession, Failure, "{workload} was rolled out (pod {pod} runs a different revision than the sandbox); ending the session as requested", ""},
	{RolloutHappened, Warning, "{workload} was rolled out (pod {pod} runs a different revision than the sandbox); the session continues with the old one", ""},
	{MarksRemoved, Warning, "the session was removed from the Route; ending it", ""},
	{ReloadNotForced, Warning, "servers changed, but the router could not be made to reload; the share may drift until it reloads: {why}", ""},
	{WeightChangedByOthers, Warning, "someone else {change}; leaving it", ""},
	{StepsStopped, Warning, "{why}; skipping the remaining steps ({left})", ""},
	{TracerDidNotEnd, Warning, "the tracer did not stop in time; its last events are missing", ""},

	// Restoring the Route.
	{SandboxOnlyBackend, Failure, "route {namespace}/{route}: the sandbox of session {session} is its only backend, and no usable journal says which backends to restore",
		`replace SERVICE with the Service that should serve users, then roll back again:
  oc patch route {route} -n {namespace} --type=merge -p '{"spec":{"to":{"kind":"Service","name":"SERVICE","weight":100}}}'
  {osc-debug} rollback --route {route} -n {namespace}`},
	{BackendLeftBehind, Failure, "route {namespace}/{route}: belongs to another session, but still has backend {service}", "remove that backend first: oc edit route {route} -n {namespace}"},
	{SandboxStillUsed, Failure, "a router still sends requests to pod {pod} although the Route is restored", "check whether the router reloads its configuration"},
	{ObjectsLeftBehind, Failure, "namespace {namespace}: {objects} not deleted: {why}", "list what is left: oc get pods,services -n {namespace} -l osc-debug.dev/session"},
	{ConnectionsOpen, Warning, "closing {count} connection(s) to {pod} that are still open (tunnels, long requests)", "use a longer --drain to let them finish"},
	{NotGradual, Warning, "cannot shift traffic back gradually ({why}); restoring at once", ""},
	{ServersNotRecorded, Warning, "the journal does not record how many servers the original had", ""},
}
