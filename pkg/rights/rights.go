// Package rights lists the permissions that osc-debug needs in a namespace. Preflight, doctor and the
// guard ask for them, and a test holds the roles in manifests to them.
package rights

// SCC is the SecurityContextConstraints that admits privileged pods in a VM.
const SCC = "osc-debug-kata"

// SessionsLabel marks namespaces for sessions. Policy osc-debug-windows rejects Windows pods in them.
const (
	SessionsLabel   = "osc-debug.dev/sessions"
	SessionsAllowed = "allowed"
)

// Right is permission to do something with a resource.
type Right struct {
	Group, Resource, Verb string // of the API; group "" is core
}

// String returns a right as "verb resource.group".
func (r Right) String() string {
	if r.Group == "" {
		return r.Verb + " " + r.Resource
	}
	return r.Verb + " " + r.Resource + "." + r.Group
}

// Session is what a session needs. ClusterRole osc-debug-user grants it, and more: what makes a session
// better, such as the autoscalers, is read only if that is allowed.
var Session = []Right{
	{"route.openshift.io", "routes", "get"},
	{"route.openshift.io", "routes", "patch"},
	{"", "services", "create"},
	{"", "services", "list"},
	{"", "services", "delete"},
	{"", "pods", "create"},
	{"", "pods", "list"},
	{"", "pods", "watch"},
	{"", "pods", "delete"},
	{"", "pods/exec", "create"},
	{"discovery.k8s.io", "endpointslices", "list"},
	{"discovery.k8s.io", "endpointslices", "watch"},
	{"apps", "replicasets", "list"},
}

// Guard is what ending sessions needs.
var Guard = []Right{
	{"route.openshift.io", "routes", "get"},
	{"route.openshift.io", "routes", "list"},
	{"route.openshift.io", "routes", "watch"},
	{"route.openshift.io", "routes", "patch"},
	{"", "services", "list"},
	{"", "services", "watch"},
	{"", "services", "delete"},
	{"", "pods", "list"},
	{"", "pods", "watch"},
	{"", "pods", "delete"},
	{"discovery.k8s.io", "endpointslices", "list"},
	{"discovery.k8s.io", "endpointslices", "watch"},
}

// CustomHost is what the guard needs to write a Route with an external certificate: OpenShift asks for it
// whatever changes. Its admission policy keeps it from changing the certificate or the host. Other Routes
// do not need it.
var CustomHost = []Right{{"route.openshift.io", "routes/custom-host", "create"}, {"route.openshift.io", "routes/custom-host", "update"}}

// GuardEvents is what the guard needs to report what it did. It works without.
var GuardEvents = []Right{{"", "events", "create"}}

// Nodes is what the guard needs in the whole cluster to see which nodes are cordoned. It works without.
var Nodes = []Right{{"", "nodes", "get"}, {"", "nodes", "list"}, {"", "nodes", "watch"}}
