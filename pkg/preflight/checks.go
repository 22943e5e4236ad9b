package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// Refusal is a session that was refused before anything was changed.
type Refusal struct {
	Check string
	Cause error  // what stands in the way, with the object's name
	Mend  string // what to do about it
	// Rights says that the caller lacks permissions.
	Rights bool
}

func (r *Refusal) Error() string {
	if r.Mend == "" {
		return r.Cause.Error()
	}
	return r.Cause.Error() + ": " + r.Mend
}

func (r *Refusal) Unwrap() error { return r.Cause }

// Check is one thing that must hold.
type Check struct {
	Name string
	Run  func(*Facts) error
	Fine string // what holds when nothing stands in the way
	Mend string
	// Forcible: with --force a session is held all the same.
	Forcible bool
}

// Checks are the checks of a Route, in the order a person would ask them.
func Checks() []Check {
	return []Check{
		{Name: "permissions", Run: permissions, Mend: MendPermissions},
		{Name: "session", Run: noSession, Fine: "no session is on it"},
		{Name: "owner", Run: noOwner, Fine: "no controller makes it", Mend: "debug a Route of your own: the controller would undo every change"},
		{Name: "admitted", Run: admitted, Fine: "a router serves it", Mend: "a Route must be served before traffic can be shifted; 'oc describe route' tells more"},
		{Name: "certificate", Run: noExternalCertificate, Fine: "its certificate is its own", Mend: "put the certificate into the Route for the session"},
		{Name: "re-encryption", Run: reencryption, Fine: "the router can verify the sandbox, or need not", Mend: "set spec.tls.destinationCACertificate, or use a serving certificate of OpenShift (annotation service.beta.openshift.io/serving-cert-secret-name on the Service, mounted by its pods): the sandbox then gets its own"},
		{Name: "backends", Run: backends, Fine: "there is room for one more"},
		{Name: "balance", Run: balance, Fine: "the router goes by weights", Mend: "remove the annotation, or set it to roundrobin"},
		{Name: "idled", Run: idled, Fine: "its workload is awake", Mend: "wake it with a request to the Route, then try again"},
		{Name: "traffic", Run: traffic, Fine: "a backend carries traffic", Mend: "make a pod of them ready first"},
		{Name: "primary", Run: primary, Fine: "its primary backend serves users", Mend: "a sandbox clones the primary's program: make the Service that users are served by the primary ('oc patch route', spec.to), or --force if they are to meet this one", Forcible: true},
		{Name: "GitOps", Run: gitops, Fine: "no GitOps tool applies it", Forcible: true},
	}
}

// Judge runs the checks and returns the first refusal, nil when a session can be held.
// With force it passes by what may be forced and returns that as warnings.
func Judge(f *Facts, force bool) (warnings []*Refusal, err error) {
	for _, c := range Checks() {
		cause := c.Run(f)
		if cause == nil {
			continue
		}
		refusal := &Refusal{Check: c.Name, Cause: cause, Mend: Concrete(c.Mend, f.Namespace.Name, f.User), Rights: c.Name == "permissions"}
		if !force || !c.Forcible {
			return warnings, refusal
		}
		warnings = append(warnings, refusal)
	}
	return warnings, nil
}

func name(r *routev1.Route) string { return "route " + r.Namespace + "/" + r.Name }

func noSession(f *Facts) error {
	if s := session.Of(f.Route); s != nil {
		return &session.InSession{Namespace: f.Route.Namespace, Name: f.Route.Name, Session: s}
	}
	return nil
}

func noOwner(f *Facts) error {
	for _, o := range f.Route.OwnerReferences {
		if o.Kind == "Ingress" || o.Controller != nil && *o.Controller {
			return fmt.Errorf("%s: is made by %s %s", name(f.Route), o.Kind, o.Name)
		}
	}
	return nil
}

func admitted(f *Facts) error {
	if len(route.Admitted(f.Route)) > 0 {
		return nil
	}
	var reasons []string
	for _, i := range f.Route.Status.Ingress {
		for _, c := range i.Conditions {
			reasons = append(reasons, fmt.Sprintf("router %s says %s: %s", i.RouterName, c.Reason, c.Message))
		}
	}
	if reasons == nil {
		reasons = []string{"no router has looked at it"}
	}
	return fmt.Errorf("%s: no router admitted it (%s)", name(f.Route), strings.Join(reasons, "; "))
}

// OtherRouters tells of routers that don't serve the Route, where others do: each has a
// judgement of its own, and the session is proven at one.
func OtherRouters(r *routev1.Route) (out []string) {
	for _, i := range r.Status.Ingress {
		for _, c := range i.Conditions {
			if c.Type == routev1.RouteAdmitted && c.Status != corev1.ConditionTrue {
				out = append(out, fmt.Sprintf("router %s does not serve the Route (%s: %s): users who come by it see nothing of the session", i.RouterName, c.Reason, c.Message))
			}
		}
	}
	return out
}

// Unproven refuses a session that would be proven at fewer routers than serve the Route:
// each reloads, and reaches the sandbox, by itself. probed is how many addresses were given.
func Unproven(r *routev1.Route, probed int) error {
	serving := route.Admitted(r)
	if len(serving) < 2 || probed >= len(serving) {
		return nil
	}
	return &Refusal{
		Check: "routers", Cause: fmt.Errorf("%s: %d routers serve it (%s) and %d would be probed", name(r), len(serving), strings.Join(serving, ", "), max(probed, 1)),
		Mend: "give the address of each with --router, once for each; --force is content with those that are probed, --no-probe with none",
	}
}

func noExternalCertificate(f *Facts) error {
	if tls := f.Route.Spec.TLS; tls != nil && tls.ExternalCertificate != nil {
		return fmt.Errorf("%s: spec.tls.externalCertificate is set: any change of such a Route needs permission for routes/custom-host", name(f.Route))
	}
	return nil
}

func backends(f *Facts) error {
	refs := f.Route.Spec.AlternateBackends
	if len(refs) >= route.MaxAlternates {
		return fmt.Errorf("%s: %d alternate backends already there, OpenShift allows no more: remove one first", name(f.Route), len(refs))
	}
	for _, a := range refs {
		if a.Name == f.Route.Spec.To.Name {
			return fmt.Errorf("%s: Service %s is both primary and alternate backend, the router would use only its last weight: remove the alternate", name(f.Route), a.Name)
		}
	}
	return nil
}

func balance(f *Facts) error {
	switch b := route.Balance(f.Route); b {
	case "source", "leastconn":
		return fmt.Errorf("%s: balance algorithm %s does not follow weights", name(f.Route), b)
	}
	return nil
}

// reencryption: without a CA the router asks of each server a certificate for its own
// Service's name (facts of openshift/router's template: verifyhost).
func reencryption(f *Facts) error {
	if tls := f.Route.Spec.TLS; tls == nil || tls.Termination != routev1.TLSTerminationReencrypt || tls.DestinationCACertificate != "" {
		return nil
	}
	service := f.Namespace.Service(f.Route.Spec.To.Name)
	if service == nil || sandbox.ServingSecret(service) != "" {
		return nil
	}
	return fmt.Errorf("%s: re-encrypts without a destination CA: the router wants a certificate for the sandbox Service's own name", name(f.Route))
}

func idled(f *Facts) error {
	service := f.Namespace.Service(f.Route.Spec.To.Name)
	if service == nil || service.Annotations[idledAt] == "" {
		return nil
	}
	return fmt.Errorf("%s: Service %s is idled since %s: it has no pods", name(f.Route), service.Name, service.Annotations[idledAt])
}

// idledAt is what 'oc idle' writes (github.com/openshift/api/unidling/v1alpha1).
const idledAt = "idling.alpha.openshift.io/idled-at"

func traffic(f *Facts) error {
	if len(route.Shares(route.Backends(f.Route, f.Servers()))) == 0 {
		return fmt.Errorf("%s: no backend with a weight has a ready endpoint on the Route's port, users get 503 now", name(f.Route))
	}
	return nil
}

// primary: with weight 0 it is what users were moved away from, as after a blue-green switch.
func primary(f *Facts) error {
	to := f.Route.Spec.To.Name
	shares := route.Shares(route.Backends(f.Route, f.Servers()))
	if len(shares) == 0 || shares[to] > 0 || f.Namespace.Service(to) == nil {
		return nil
	}
	maps.DeleteFunc(shares, func(_ string, share float64) bool { return share == 0 })
	return fmt.Errorf("%s: no user is served by its primary Service %s, but by %s", name(f.Route), to, strings.Join(slices.Sorted(maps.Keys(shares)), ", "))
}

// Servers counts the HAProxy servers of each of the Route's Services.
func (f *Facts) Servers() map[string]int {
	out := map[string]int{}
	for _, b := range route.Backends(f.Route, nil) {
		out[b.Service] = len(route.Endpoints(f.Route, b.Service, f.Namespace.Slices))
	}
	return out
}
