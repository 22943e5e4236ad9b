package reason

// Reasons of the guard: why it ends a session, how, and problems with the guard or its settings.
const (
	// Why the guard ends a session, or leaves it as it is. The codes are labels of its metrics and,
	// with the prefix "DebugSession", the reasons of its Events.
	Abandoned     Code = "Abandoned"
	Expired       Code = "Expired"
	TooLong       Code = "TooLong"
	Unready       Code = "Unready"
	LabelPruned   Code = "LabelPruned"
	JournalPruned Code = "JournalPruned"
	BackendGone   Code = "BackendGone"
	Recreated     Code = "Recreated"
	Unreadable    Code = "Unreadable"
	NoWayBack     Code = "NoWayBack"
	NotEnded      Code = "NotEnded"
	Changed       Code = "Changed"
	MarksGone     Code = "MarksGone"
	NodeDrain     Code = "NodeDrain"
	Unfinished    Code = "Unfinished"
	Orphaned      Code = "Orphaned"

	// How the guard restored a Route: the text of the Event.
	RouteRestored        Code = "RouteRestored"
	ForeignChangesStayed Code = "ForeignChangesStayed"
	RestoredBlind        Code = "RestoredBlind"
	TrafficHeld          Code = "TrafficHeld"

	// Problems with the settings, or in finding a guard.
	SettingsInvalid    Code = "SettingsInvalid"
	GuardNotFound      Code = "GuardNotFound"
	HomeNotTrusted     Code = "HomeNotTrusted"
	GuardLeaseNotHeld  Code = "GuardLeaseNotHeld"
	GuardLeaseStale    Code = "GuardLeaseStale"
	GuardStatusMissing Code = "GuardStatusMissing"
	GuardStatusInvalid Code = "GuardStatusInvalid"
	GuardDoesNotCover  Code = "GuardDoesNotCover"
	GuardTooOld        Code = "GuardTooOld"
)

var guardReasons = []Reason{
	{Abandoned, Verdict, "the session was still being prepared after its deadline", ""},
	{Expired, Verdict, "the session reached its end time", ""},
	{TooLong, Verdict, "the session's end time is later than any session may last", ""},
	{Unready, Verdict, "the sandbox has no ready endpoint", ""},
	{LabelPruned, Verdict, "someone removed the session's label from the Route", ""},
	{JournalPruned, Verdict, "someone removed the journal annotation from the Route", ""},
	{BackendGone, Verdict, "someone removed the sandbox's backend from the Route", ""},
	{Recreated, Verdict, "the Route was deleted and recreated with the session's marks", ""},
	{
		Unreadable, Verdict, "the journal cannot be read, so the guard changes nothing while the sandbox serves users",
		"end the session now: {osc-debug} rollback --route {route} -n {namespace}",
	},
	{
		NoWayBack, Verdict, "route {namespace}/{route}: the sandbox of session {session} is its only backend, and no usable journal says which backends to restore",
		`replace SERVICE with the Service that should serve users: oc patch route {route} -n {namespace} --type=merge -p '{"spec":{"to":{"kind":"Service","name":"SERVICE","weight":100}}}'`,
	},
	{NotEnded, Verdict, "the API server rejects ending the session ({why}); retrying", ""},
	{Changed, Verdict, "someone else {changes}; leaving it", ""},
	{MarksGone, Verdict, "someone removed its marks from the Route, or deleted the Route; deleting the sandbox in {time}", ""},
	{NodeDrain, Verdict, "a node that runs the sandbox is cordoned, so a drain is expected", ""},
	{Unfinished, Verdict, "ending the session was interrupted", ""},
	{Orphaned, Verdict, "sandbox objects exist, but their Route has no mark of the session", ""},

	{RouteRestored, Verdict, "the Route's backends are restored", ""},
	{ForeignChangesStayed, Verdict, "the Route's backends are restored; {kept}", ""},
	{RestoredBlind, Verdict, "the sandbox's backend is removed from the Route; the earlier weights of the other backends are unknown", ""},
	{
		TrafficHeld, Verdict, "its traffic is back on the original; the sandbox is kept until the session ends",
		"resume the session with '{osc-debug} weight PERCENT --route {route} -n {namespace}', or end it with '{osc-debug} rollback {route} -n {namespace}'",
	},

	{SettingsInvalid, Refusal, "ConfigMap {namespace}/{configmap}: invalid data.{key}: {why}", "correct it: oc edit configmap {configmap} -n {namespace}"},
	{
		HomeNotTrusted, Refusal, "namespace {home} is not trusted: {why}",
		"Settings and guards of this namespace apply to the whole cluster. Ask a cluster administrator to check who can write in it, or to delete it, and to apply 'osc-debug manifests guard' again.",
	},
	{GuardNotFound, Refusal, "Lease {home}/{lease}: {why}", ""},
	{GuardLeaseNotHeld, Refusal, "Lease {home}/{lease} is not held", ""},
	{
		GuardLeaseStale, Refusal, "guard {guard} in namespace {home} last renewed its Lease {age} ago",
		"check the guard's pods: oc get pods -n {home} -l app.kubernetes.io/name=osc-debug-guard",
	},
	{GuardStatusMissing, Refusal, "guard status in ConfigMap {home}/{configmap}: {why}", ""},
	{GuardStatusInvalid, Refusal, "ConfigMap {home}/{configmap}: invalid data.{key}: {why}", ""},
	{
		GuardDoesNotCover, Refusal, "the guard in namespace {home} cannot end sessions in namespace {namespace}",
		`ask an administrator to add {namespace} to data.namespaces, and to bind the guard's role:
  oc edit configmap {configmap} -n {home}
  oc create rolebinding osc-debug-guard -n {namespace} --clusterrole=osc-debug-guard --serviceaccount={home}:osc-debug-guard`,
	},
	{
		GuardTooOld, Refusal, "the guard in namespace {home} reads journals up to version {reads}, but this command writes version {writes}",
		`ask an administrator to update the guard:
  {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -`,
	},
}
