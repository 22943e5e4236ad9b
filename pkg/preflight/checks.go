package preflight

import (
	"fmt"
	"strings"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/workload"
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
	Mend string
}

// Checks are the checks of a Route, in the order a person would ask them.
func Checks() []Check {
	return []Check{
		{"permissions", permissions, "ask a namespace administrator for role edit, or 'oc adm policy add-role-to-user edit USER'"},
		{"session", noSession, ""},
		{"owner", noOwner, "debug a Route of your own: the controller would undo every change"},
		{"admitted", admitted, "a Route must be served before traffic can be shifted; 'oc describe route' tells more"},
		{"certificate", noExternalCertificate, "put the certificate into the Route for the session"},
		{"backends", backends, ""},
		{"balance", balance, "remove the annotation, or set it to roundrobin"},
		{"traffic", traffic, "make a pod of them ready first"},
	}
}

// Judge runs the checks and returns the first refusal, nil when a session can be held.
func Judge(f *Facts) error {
	for _, c := range Checks() {
		if err := c.Run(f); err != nil {
			return &Refusal{Check: c.Name, Cause: err, Mend: c.Mend, Rights: c.Name == "permissions"}
		}
	}
	return nil
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

func traffic(f *Facts) error {
	if len(route.Shares(route.Backends(f.Route, f.Servers()))) == 0 {
		return fmt.Errorf("%s: no backend with a weight has a ready endpoint on the Route's port, users get 503 now", name(f.Route))
	}
	return nil
}

// Servers counts the HAProxy servers of each of the Route's Services.
func (f *Facts) Servers() map[string]int {
	out := map[string]int{}
	for _, b := range route.Backends(f.Route, nil) {
		out[b.Service] = len(route.Endpoints(f.Route, b.Service, f.Namespace.Slices))
	}
	return out
}

// Unclonable says why a program can't run in a sandbox.
func Unclonable(p *workload.Program) error {
	refuse := func(why, mend string) error {
		return &Refusal{Check: "workload", Cause: fmt.Errorf("%s: %s", p, why), Mend: mend}
	}
	spec := p.Spec
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		return refuse("uses the node's network, PID or IPC namespace, which a sandbox VM does not have", "debug it without hostNetwork, hostPID and hostIPC")
	}
	for _, v := range spec.Volumes {
		if v.HostPath != nil {
			return refuse("mounts the node's "+v.HostPath.Path+" (volume "+v.Name+"): the VM would share it read-write with its node", "debug it without the hostPath volume")
		}
		if v.PersistentVolumeClaim != nil && !v.PersistentVolumeClaim.ReadOnly {
			return refuse("writes to claim "+v.PersistentVolumeClaim.ClaimName+", which a second copy of the program could damage", "mount the claim readOnly, or debug a workload without it")
		}
	}
	return nil
}
