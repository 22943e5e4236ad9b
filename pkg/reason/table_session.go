package reason

// Reasons of a session: what its Route bears, and the steps there and back.
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

	// The way there, and while the session is live.
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

	// The way back.
	SandboxOnlyBackend Code = "SandboxOnlyBackend"
	BackendLeftBehind  Code = "BackendLeftBehind"
	SandboxStillUsed   Code = "SandboxStillUsed"
	ObjectsLeftBehind  Code = "ObjectsLeftBehind"
	ConnectionsOpen    Code = "ConnectionsOpen"
	NotSlowly          Code = "NotSlowly"
	ServersNotNoted    Code = "ServersNotNoted"
)

var sessionReasons = []Reason{
	// The Route and its marks.
	{RouteInSession, Refusal, "route {namespace}/{route}: session {session} of {who} is on it ({state})",
		"wait for its end, or end it with '{osc-debug} rollback --route {route} -n {namespace}'"},
	{RouteChanged, Failure, "route {namespace}/{route}: somebody changed it while the session was being prepared", "start again"},
	{RouteRecreated, Failure, "route {namespace}/{route}: somebody deleted it and made it again", ""},
	{SessionRemoved, Failure, "route {namespace}/{route}: somebody removed session {session} from it", ""},
	{SessionHeld, Failure, "route {namespace}/{route}: session {session} is held by now: its sandbox was not ready", ""},
	{SessionGone, Refusal, "route {namespace}/{route}: session {session} is not on it any more", ""},
	{SessionEnding, Refusal, "route {namespace}/{route}: session {session} is ending", ""},
	{SessionStillArming, Refusal, "route {namespace}/{route}: session {session} is still being prepared", ""},
	{SessionIDInvalid, Failure, "{session} is no session ID", ""},
	{BackendAdded, Failure, "route {namespace}/{route}: somebody added backend {service} meanwhile", "start again"},
	{WeightChanged, Failure, "route {namespace}/{route}: somebody changed the weight of {service} while the session was being prepared", "start again"},
	{JournalTooLong, Refusal, "journal: {size} bytes, more than {limit}", ""},
	{JournalMalformed, Refusal, "journal: {why}", ""},
	{JournalVersionUnknown, Refusal, "journal: version {version} is not known to this osc-debug", "use a newer one"},
	{JournalContradictory, Refusal, "journal: {why}", ""},

	// Refused before anything is changed.
	{TooMuchLoad, Refusal, "{workload}: {percent} % of the Route is the work of {load} of its pods, too much for {pods} sandbox pods",
		"ask for --weight {possible}, or give --replicas"},
	{SelectsEveryPod, Refusal, "{selector} selects every pod of namespace {namespace} and would select the sandbox of {workload} too",
		"give it a selector of its own"},
	{ServiceSelectsEveryPod, Refusal, "{selector} selects every pod of namespace {namespace} and would select the sandbox of {workload} too: the sandbox gets its traffic too",
		"give it a selector of its own, or hold the session all the same with --force"},
	{BudgetSelectsEveryPod, Refusal,
		"{selector} selects every pod of namespace {namespace} and would select the sandbox of {workload} too: it counts the sandbox, so one more of the original's pods may be evicted",
		"give it a selector of its own, or hold the session all the same with --force"},
	{GuardNotRunning, Refusal, "no guard stands by: {why}",
		"have an administrator install it ('{osc-debug} manifests guard') and enable this namespace, or give --no-guard: the session then lives and dies with its '{osc-debug} shift'"},
	{RouterNotReached, Refusal, "{why}", "give the router's address with --router, or do without the proof with --no-probe"},
	{RouterAnswers503, Refusal, "{router} answers 503 already now", "mend the Route first"},
	{CannotBeWeighed, Refusal, "route {namespace}/{route}: session {session} is {state}: only a live or held session can be weighed", ""},
	{NoReadySandboxPod, Refusal, "route {namespace}/{route}: no pod of sandbox {session} is ready", "look at it with 'oc get pods -n {namespace} -l {label}={session}'"},
	{TooMuchForSandbox, Refusal, "route {namespace}/{route}: {percent} % is the work of {load} pods of {service}, too much for {servers} of the sandbox",
		"give up to {possible}, a session of its own with more --replicas, or --force"},

	// Told of a plan.
	{MeshProxyLeftOff, Warning, "{mesh}'s proxy is left off the sandbox: peers that insist on mutual TLS refuse it", ""},
	{PolicyApart, Warning, "NetworkPolicy {policy} selects the sandbox but not the original: what the one may reach, the other may not", ""},
	{PolicyStrangers, Warning, "NetworkPolicy {policy} may let the original through by labels of this namespace, but not the sandbox", ""},
	{AutoscalerMayShrink, Warning,
		"HorizontalPodAutoscaler {autoscaler} may shrink {workload} while it has less to do ({ready} ready now, {least} at least); the way back is taken slowly if it did", ""},
	{DetachedMayShrink, Warning,
		"HorizontalPodAutoscaler {autoscaler} may shrink {workload} while it has less to do ({ready} ready now, {least} at least); the guard gives all traffic back at once",
		"raise {field} for the session, or stay in the foreground, which takes the way back slowly"},
	{RightsToListMissing, Warning, "you may not list {kinds} here: what they do to the sandbox is not known", ""},

	// The sandbox and its proof.
	{TimedOut, Failure, "{what}: gave up after {took}", ""},
	{ContainerEnded, Failure, "sandbox pod {pod}: container {container} ended with code {status} ({why})", "its last words: 'oc logs -n {namespace} {pod} -c {container}'"},
	{PodFailed, Failure, "sandbox pod {pod} failed: {why}", ""},
	{PodDeleted, Failure, "sandbox pod {pod}: somebody deletes it", ""},
	{NotProven, Warning, "not proven: {why}; traffic starts with the smallest share", ""},
	{SandboxAnswersWorse, Failure, "sandbox pod {pod} answers {status} where users got {before}: no user was sent there", ""},
	{RouterDoesNotReachSandbox, Failure,
		"sandbox pod {pod} is ready, but the router did not reach it within {within} (last answer: {status}, error: {why}): " +
			"a NetworkPolicy may keep the router out, or re-encryption fails; no user was sent there", ""},

	// Shares.
	{GuardStoppedRenewing, Failure, "the guard {guard} no longer renews its Lease: no more users are sent to the sandbox", ""},
	{CanaryNotAnswered, Failure, "users are no longer answered with the smallest share at the sandbox: {router} gave {status} ({why}), before it was {before}", ""},
	{NotVerified, Warning, "not verified: --no-probe", ""},
	{UsersNotAnswered, Failure, "users are no longer answered: {router} gave {status} ({why}), before it was {before}", ""},
	{RouterSendsNothing, Failure, "the router does not send traffic to the sandbox: {seen} of {asked} requests answered by it within {within}", ""},
	{SessionEndedMeanwhile, Failure, "the session was ended, by the guard or by somebody else, before it was verified", ""},
	{ShareTakenBack, Failure, "{why}: the session is held", ""},
	{TrafficNotTakenBack, Failure, "its traffic was not taken back: {why}", "'{osc-debug} rollback --route {route} -n {namespace}' does"},
	{EndsEarlier, Warning, "its pods took {took} to serve: the session ends {earlier} earlier than asked, before they do", ""},
	{EventNotWritten, Warning, "no Event written: {why}", ""},

	// While the session is live.
	{SessionExpired, Failure, "the session's time to live, {ttl}, is over", "--ttl gives a session more, '{osc-debug} extend' one that is live"},
	{SandboxUnready, Failure, "the sandbox is no longer ready: its traffic goes back", ""},
	{GuardHeldSession, Failure, "the guard found the sandbox not ready and gave its traffic back", ""},
	{RolloutEndedSession, Failure, "{workload} was rolled out: pod {pod} is not of the revision that the sandbox runs: the session ends, as asked for", ""},
	{RolloutHappened, Warning, "{workload} was rolled out: pod {pod} is not of the revision that the sandbox runs; the session goes on with the old one", ""},
	{MarksRemoved, Warning, "somebody took the session off the Route: ending it", ""},
	{WeightChangedByOthers, Warning, "somebody {change}: it stays so, and is not fought", ""},
	{StepsStopped, Warning, "{why}: no more steps are taken (left: {left})", ""},
	{TracerDidNotEnd, Warning, "the tracer did not end: its last events are missing", ""},

	// The way back.
	{SandboxOnlyBackend, Failure, "route {namespace}/{route}: the sandbox of session {session} is its only backend, and no journal tells what was there before",
		`first name the Service that shall serve: oc patch route {route} -n {namespace} --type=merge -p '{"spec":{"to":{"kind":"Service","name":"SERVICE","weight":100}}}'`},
	{BackendLeftBehind, Failure, "route {namespace}/{route} has backend {service} and another session's mark", "remove that backend first"},
	{SandboxStillUsed, Failure, "a router still sends requests to pod {pod} although the Route is restored", "see whether it reloads"},
	{ObjectsLeftBehind, Failure, "left in namespace {namespace}: {objects}: {why}", ""},
	{ConnectionsOpen, Warning, "{count} connection(s) to {pod} are still open (tunnels, long requests): they are cut now", "a longer --drain lets them end"},
	{NotSlowly, Warning, "not slowly: {why}", ""},
	{ServersNotNoted, Warning, "how many servers it had is not noted", ""},
}
