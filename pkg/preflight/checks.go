package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Check is one thing that must hold.
type Check struct {
	Name string
	Run  func(*Facts) error // an error with a reason, whose fix says what to do
	Fine string             // what holds when nothing stands in the way
	// Forcible: with --force a session is held all the same.
	Forcible bool
}

// Checks are the checks of a Route, in the order a person would ask them.
func Checks() []Check {
	return []Check{
		{Name: "permissions", Run: permissions},
		{Name: "session", Run: noSession, Fine: "no session is on it"},
		{Name: "owner", Run: noOwner, Fine: "no controller makes it"},
		{Name: "admitted", Run: admitted, Fine: "a router serves it"},
		{Name: "certificate", Run: noExternalCertificate, Fine: "its certificate is its own"},
		{Name: "re-encryption", Run: reencryption, Fine: "the router can verify the sandbox, or need not"},
		{Name: "backends", Run: backends, Fine: "there is room for one more"},
		{Name: "balance", Run: balance, Fine: "the router goes by weights"},
		{Name: "idled", Run: idled, Fine: "its workload is awake"},
		{Name: "traffic", Run: traffic, Fine: "a backend carries traffic"},
		{Name: "primary", Run: primary, Fine: "its primary backend serves users", Forcible: true},
		{Name: "GitOps", Run: gitops, Fine: "no GitOps tool applies it", Forcible: true},
	}
}

// Judge runs the checks and returns the first refusal, nil when a session can be held.
// With force it passes by what may be forced and returns that as warnings.
func Judge(f *Facts, force bool) (warnings []error, err error) {
	for _, c := range Checks() {
		refusal := c.Run(f)
		if refusal == nil {
			continue
		}
		if !force || !c.Forcible {
			return warnings, refusal
		}
		warnings = append(warnings, refusal)
	}
	return warnings, nil
}

func noSession(f *Facts) error {
	if s := record.Of(f.Route); s != nil {
		return &record.InSession{Namespace: f.Route.Namespace, Name: f.Route.Name, Session: s}
	}
	return nil
}

func noOwner(f *Facts) error {
	for _, o := range f.Route.OwnerReferences {
		if o.Kind == "Ingress" || o.Controller != nil && *o.Controller {
			return reason.New(reason.RouteHasOwner, "namespace", f.Route.Namespace, "route", f.Route.Name, "owner", o.Kind+" "+o.Name)
		}
	}
	return nil
}

func admitted(f *Facts) error {
	if len(route.Admitted(f.Route)) > 0 {
		return nil
	}
	var why []string
	for _, i := range f.Route.Status.Ingress {
		for _, c := range i.Conditions {
			why = append(why, fmt.Sprintf("router %s says %s: %s", i.RouterName, c.Reason, c.Message))
		}
	}
	if why == nil {
		why = []string{"no router has looked at it"}
	}
	return reason.New(reason.RouteNotAdmitted, "namespace", f.Route.Namespace, "route", f.Route.Name, "why", strings.Join(why, "; "))
}

// OtherRouters tells of routers that don't serve the Route, where others do: each has a
// judgement of its own, and the session is proven at one.
func OtherRouters(r *routev1.Route) (warnings []error) {
	for _, i := range r.Status.Ingress {
		for _, c := range i.Conditions {
			if c.Type == routev1.RouteAdmitted && c.Status != corev1.ConditionTrue {
				warnings = append(warnings, reason.New(reason.RouterNotServing, "router", i.RouterName, "why", c.Reason+": "+c.Message))
			}
		}
	}
	return warnings
}

// Unproven refuses a session that would be proven at fewer routers than serve the Route:
// each reloads, and reaches the sandbox, by itself. probed is how many addresses were given.
func Unproven(r *routev1.Route, probed int) error {
	serving := route.Admitted(r)
	if len(serving) < 2 || probed >= len(serving) {
		return nil
	}
	return reason.New(reason.RoutersNotProbed, "namespace", r.Namespace, "route", r.Name, "count", len(serving), "routers", strings.Join(serving, ", "), "probed", max(probed, 1))
}

func noExternalCertificate(f *Facts) error {
	if tls := f.Route.Spec.TLS; tls != nil && tls.ExternalCertificate != nil {
		return reason.New(reason.ExternalCertificate, "namespace", f.Route.Namespace, "route", f.Route.Name)
	}
	return nil
}

func backends(f *Facts) error {
	refs := f.Route.Spec.AlternateBackends
	if len(refs) >= route.MaxAlternates {
		return reason.New(reason.AlternateBackendsFull, "namespace", f.Route.Namespace, "route", f.Route.Name, "count", len(refs))
	}
	for _, a := range refs {
		if a.Name == f.Route.Spec.To.Name {
			return reason.New(reason.BackendNamedTwice, "namespace", f.Route.Namespace, "route", f.Route.Name, "service", a.Name)
		}
	}
	return nil
}

func balance(f *Facts) error {
	switch b := route.Balance(f.Route); b {
	case "source", "leastconn":
		return reason.New(reason.BalanceIgnoresWeights, "namespace", f.Route.Namespace, "route", f.Route.Name, "balance", b)
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
	return reason.New(reason.DestinationCAMissing, "namespace", f.Route.Namespace, "route", f.Route.Name)
}

func idled(f *Facts) error {
	service := f.Namespace.Service(f.Route.Spec.To.Name)
	if service == nil || service.Annotations[idledAt] == "" {
		return nil
	}
	return reason.New(reason.ServiceIdled, "namespace", f.Route.Namespace, "route", f.Route.Name, "service", service.Name, "since", service.Annotations[idledAt])
}

// idledAt is what 'oc idle' writes (github.com/openshift/api/unidling/v1alpha1).
const idledAt = "idling.alpha.openshift.io/idled-at"

func traffic(f *Facts) error {
	if len(route.Shares(route.Backends(f.Route, f.Servers()))) == 0 {
		return reason.New(reason.NoReadyBackend, "namespace", f.Route.Namespace, "route", f.Route.Name)
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
	maps.DeleteFunc(shares, func(_ string, share route.Share) bool { return share == 0 })
	return reason.New(reason.PrimaryServesNobody, "namespace", f.Route.Namespace, "route", f.Route.Name, "service", to, "others", strings.Join(slices.Sorted(maps.Keys(shares)), ", "))
}

// Servers counts the HAProxy servers of each of the Route's Services.
func (f *Facts) Servers() map[string]int {
	out := map[string]int{}
	for _, b := range route.Backends(f.Route, nil) {
		out[b.Service] = len(route.Endpoints(f.Route, b.Service, f.Namespace.Slices))
	}
	return out
}
