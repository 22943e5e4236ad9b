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

// Check is one condition that a Route must meet.
type Check struct {
	Name string
	Run  func(*Facts) error // returns an error with a reason, nil if the condition is met
	Fine string             // what doctor prints if the condition is met
	// Forcible checks only cause a warning if the user gives --force.
	Forcible bool
}

// Checks returns the checks of a Route, in the order in which they run.
func Checks() []Check {
	return []Check{
		{Name: "permissions", Run: checkPermissions},
		{Name: "session", Run: checkSession, Fine: "no session on the Route"},
		{Name: "owner", Run: checkOwner, Fine: "no controller manages it"},
		{Name: "admitted", Run: checkAdmitted, Fine: "admitted by a router"},
		{Name: "certificate", Run: checkCertificate, Fine: "no external certificate"},
		{Name: "re-encryption", Run: checkReencryption, Fine: "the router can verify the sandbox or does not need to"},
		{Name: "backends", Run: checkBackends, Fine: "room for one more backend"},
		{Name: "balance", Run: checkBalance, Fine: "the router uses weights"},
		{Name: "idled", Run: checkIdled, Fine: "the primary Service is not idled"},
		{Name: "traffic", Run: checkTraffic, Fine: "a backend receives traffic"},
		{Name: "primary", Run: checkPrimary, Fine: "the primary backend serves users", Forcible: true},
		{Name: "GitOps", Run: checkGitOps, Fine: "no GitOps tool applies it", Forcible: true},
	}
}

// Judge runs the checks and returns the first error, nil if a session can start. With force, errors
// of forcible checks become warnings.
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

func checkSession(f *Facts) error {
	if s := record.Of(f.Route); s != nil {
		return &record.InSession{Namespace: f.Route.Namespace, Name: f.Route.Name, Session: s}
	}
	return nil
}

func checkOwner(f *Facts) error {
	for _, o := range f.Route.OwnerReferences {
		if o.Kind == "Ingress" || o.Controller != nil && *o.Controller {
			return reason.New(reason.RouteHasOwner, "namespace", f.Route.Namespace, "route", f.Route.Name, "owner", o.Kind+" "+o.Name)
		}
	}
	return nil
}

func checkAdmitted(f *Facts) error {
	if len(route.Admitted(f.Route)) > 0 {
		return nil
	}
	var why []string
	for _, i := range f.Route.Status.Ingress {
		for _, c := range i.Conditions {
			why = append(why, fmt.Sprintf("router %s: %s: %s", i.RouterName, c.Reason, c.Message))
		}
	}
	if why == nil {
		why = []string{"no router has reported a status"}
	}
	return reason.New(reason.RouteNotAdmitted, "namespace", f.Route.Namespace, "route", f.Route.Name, "why", strings.Join(why, "; "))
}

// OtherRouters returns a warning for each router that does not admit the Route. Every router decides
// for itself, and the session is proven only at routers that serve the Route.
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

// Unproven returns an error if fewer routers would be probed than serve the Route. Each router reloads
// and reaches the sandbox independently, so a proof at one says nothing about the others. probed is
// the number of router addresses that the user gave.
func Unproven(r *routev1.Route, probed int) error {
	serving := route.Admitted(r)
	if len(serving) < 2 || probed >= len(serving) {
		return nil
	}
	return reason.New(reason.RoutersNotProbed, "namespace", r.Namespace, "route", r.Name, "count", len(serving), "routers", strings.Join(serving, ", "), "probed", max(probed, 1))
}

func checkCertificate(f *Facts) error {
	if tls := f.Route.Spec.TLS; tls != nil && tls.ExternalCertificate != nil {
		return reason.New(reason.ExternalCertificate, "namespace", f.Route.Namespace, "route", f.Route.Name)
	}
	return nil
}

func checkBackends(f *Facts) error {
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

func checkBalance(f *Facts) error {
	switch b := route.Balance(f.Route); b {
	case "source", "leastconn":
		return reason.New(reason.BalanceIgnoresWeights, "namespace", f.Route.Namespace, "route", f.Route.Name, "balance", b)
	}
	return nil
}

// checkReencryption: without a destination CA, the router requires from each server a certificate for
// the name of that server's own Service (verifyhost in openshift/router's HAProxy template).
func checkReencryption(f *Facts) error {
	if tls := f.Route.Spec.TLS; tls == nil || tls.Termination != routev1.TLSTerminationReencrypt || tls.DestinationCACertificate != "" {
		return nil
	}
	service := f.Namespace.Service(f.Route.Spec.To.Name)
	if service == nil || sandbox.ServingSecret(service) != "" {
		return nil
	}
	return reason.New(reason.DestinationCAMissing, "namespace", f.Route.Namespace, "route", f.Route.Name)
}

func checkIdled(f *Facts) error {
	service := f.Namespace.Service(f.Route.Spec.To.Name)
	if service == nil || service.Annotations[idledAt] == "" {
		return nil
	}
	return reason.New(reason.ServiceIdled, "namespace", f.Route.Namespace, "route", f.Route.Name, "service", service.Name, "since", service.Annotations[idledAt])
}

// idledAt is the annotation that 'oc idle' writes (github.com/openshift/api/unidling/v1alpha1).
const idledAt = "idling.alpha.openshift.io/idled-at"

func checkTraffic(f *Facts) error {
	if len(route.Shares(f.Backends())) == 0 {
		return reason.New(reason.NoReadyBackend, "namespace", f.Route.Namespace, "route", f.Route.Name)
	}
	return nil
}

// checkPrimary: if the primary backend has weight 0, users were moved away from it, as after a
// blue-green switch, and a clone of it would run the wrong program.
func checkPrimary(f *Facts) error {
	to := f.Route.Spec.To.Name
	shares := route.Shares(f.Backends())
	if len(shares) == 0 || shares[to] > 0 || f.Namespace.Service(to) == nil {
		return nil
	}
	maps.DeleteFunc(shares, func(_ string, share route.Share) bool { return share == 0 })
	return reason.New(reason.PrimaryServesNobody, "namespace", f.Route.Namespace, "route", f.Route.Name, "service", to, "others", strings.Join(slices.Sorted(maps.Keys(shares)), ", "))
}

// Backends returns the Route's backends with their servers and pods.
func (f *Facts) Backends() []route.Backend {
	out := route.Backends(f.Route, f.Servers())
	for i, b := range out {
		out[i].Pods = route.PodsOf(route.Endpoints(f.Route, b.Service, f.Namespace.Slices))
	}
	return out
}

// Servers returns the number of HAProxy servers of each of the Route's Services.
func (f *Facts) Servers() map[string]int {
	out := map[string]int{}
	for _, b := range route.Backends(f.Route, nil) {
		out[b.Service] = len(route.Endpoints(f.Route, b.Service, f.Namespace.Slices))
	}
	return out
}
