package reason

// The guard: what it ends sessions for and says of it, and what is wrong with it or its settings.
const (
	// Why the guard ends a session or leaves it alone. They label its metrics and, after
	// "DebugSession", are an Event's reason.
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

	// How the guard put a Route back: the text of the Event.
	RouteRestored        Code = "RouteRestored"
	ForeignChangesStayed Code = "ForeignChangesStayed"
	RestoredBlind        Code = "RestoredBlind"
	TrafficHeld          Code = "TrafficHeld"

	// What is wrong with settings, or with a guard that is looked for.
	SettingsInvalid    Code = "SettingsInvalid"
	GuardNotFound      Code = "GuardNotFound"
	GuardLeaseNotHeld  Code = "GuardLeaseNotHeld"
	GuardLeaseStale    Code = "GuardLeaseStale"
	GuardStatusMissing Code = "GuardStatusMissing"
	GuardStatusInvalid Code = "GuardStatusInvalid"
	GuardDoesNotCover  Code = "GuardDoesNotCover"
	GuardTooOld        Code = "GuardTooOld"
)

var guardReasons = []Reason{
	{Abandoned, Verdict, "still arming past its time", ""},
	{Expired, Verdict, "past its end", ""},
	{TooLong, Verdict, "its end is farther away than any session may last", ""},
	{Unready, Verdict, "no sandbox server is ready", ""},
	{LabelPruned, Verdict, "somebody removed our label", ""},
	{JournalPruned, Verdict, "somebody removed our annotation", ""},
	{BackendGone, Verdict, "somebody removed our backend", ""},
	{Recreated, Verdict, "the Route was deleted and made again, marks and all", ""},
	{
		Unreadable, Verdict, "its journal can't be read; users are served by the sandbox and nothing is changed until it is dead",
		"'{osc-debug} rollback --route {route}' ends it now",
	},
	{
		NoWayBack, Verdict, "route {namespace}/{route}: the sandbox of session {session} is its only backend, and no journal tells what was there before",
		`first name the Service that shall serve: oc patch route {route} -n {namespace} --type=merge -p '{"spec":{"to":{"kind":"Service","name":"SERVICE","weight":100}}}'`,
	},
	{NotEnded, Verdict, "the API server refuses to have it ended, which is tried on: {why}", ""},
	{Changed, Verdict, "somebody {changes}: it stays so, and is not fought", ""},
	{MarksGone, Verdict, "somebody took its marks off the Route, or deleted the Route; its sandbox is deleted in {time}", ""},
	{NodeDrain, Verdict, "a node of the sandbox is cordoned: a drain is to come", ""},
	{Unfinished, Verdict, "its ending was interrupted", ""},
	{Orphaned, Verdict, "sandbox objects without a mark on their Route", ""},

	{RouteRestored, Verdict, "the Route's backends are restored", ""},
	{ForeignChangesStayed, Verdict, "the Route's backends are restored; what somebody else had changed stayed", ""},
	{RestoredBlind, Verdict, "its backend is off the Route; which weights the others had before, no journal told", ""},
	{
		TrafficHeld, Verdict, "its traffic is back; the sandbox stays until the session's end",
		"'{osc-debug} weight' resumes, '{osc-debug} rollback' ends it",
	},

	{SettingsInvalid, Refusal, "namespace {namespace}: ConfigMap {configmap}: {key}: {why}", "oc edit configmap {configmap} -n {namespace}"},
	{GuardNotFound, Refusal, "its Lease {home}/{lease}: {why}", ""},
	{GuardLeaseNotHeld, Refusal, "its Lease {home}/{lease}: nobody holds it", ""},
	{
		GuardLeaseStale, Refusal, "{guard} in namespace {home} renewed its Lease {age} ago",
		"oc get pods -n {home} -l app.kubernetes.io/name=osc-debug-guard",
	},
	{GuardStatusMissing, Refusal, "its status {home}/{configmap}: {why}", ""},
	{GuardStatusInvalid, Refusal, "namespace {home}: ConfigMap {configmap}: journal: {why}", ""},
	{
		GuardDoesNotCover, Refusal, "the guard in namespace {home} may not end sessions in namespace {namespace}",
		"add {namespace} to namespaces of ConfigMap {home}/{configmap}, and: oc create rolebinding osc-debug-guard -n {namespace} --clusterrole=osc-debug-guard --serviceaccount={home}:osc-debug-guard",
	},
	{
		GuardTooOld, Refusal, "the guard in namespace {home} reads journals up to version {reads}, this command writes {writes}",
		"have it updated: {osc-debug} manifests guard --image GUARD@sha256:… | oc apply -f -",
	},
}
