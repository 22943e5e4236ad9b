// Package doctor checks whether sessions can run in a namespace. It makes the checks of a session's
// preflight, and further checks of the cluster and its guard. It only reads and sends dry runs; only Try
// creates a pod.
package doctor

import (
	"context"
	"errors"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Status is the result of a check.
type Status string

// Results of a check.
const (
	OK      Status = "ok"
	Missing Status = "missing" // sessions cannot run
	Warning Status = "warning" // sessions can run, but less safely
	Unknown Status = "unknown" // the check could not be made
)

// Finding is a check and its result.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"` // the fix; "" for none
	// Code is the code of the reason. It is "" if the check passed, and if the API server did not answer.
	Code reason.Code `json:"code,omitempty"`
}

// Doctor checks one namespace.
type Doctor struct {
	store.Store
	Clock        *kube.Clock     // the API server's time
	Trust        *settings.Trust // whether namespace osc-debug is trusted; nil: read it each time
	Namespace    string
	RuntimeClass string   // of the sandbox
	Image        string   // of the sidecar
	Route        string   // a Route to check as well; "" for none
	Routers      []string // where to send a request as users do; none: no request is sent
	// Command returns the command line of an osc-debug command by its verb, for fixes. nil: "osc-debug"
	// and the verb.
	Command func(verb string) string

	settings settings.Settings // set by the check "settings"
	user     string            // set by the check "permissions"
}

// check is one check. Its function returns the detail of a passed check. An error with a reason means
// Missing, a *nonBlocking means Warning or Unknown, and any other error means Unknown.
type check struct {
	name string
	run  func(*Doctor, context.Context) (detail string, err error)
}

// nonBlocking is the error of a check that did not pass but does not prevent sessions.
type nonBlocking struct {
	status Status
	why    *reason.Error
}

// Error returns the reason's sentence.
func (n *nonBlocking) Error() string { return n.why.Error() }

// Unwrap returns the reason.
func (n *nonBlocking) Unwrap() error { return n.why }

func asWarning(e *reason.Error) error { return &nonBlocking{Warning, e} }
func asUnknown(e *reason.Error) error { return &nonBlocking{Unknown, e} }

// checks are in the order in which a person would make them.
var checks = []check{
	{"API server", (*Doctor).checkAPIServer},
	{"permissions", (*Doctor).checkPermissions},
	{"settings", (*Doctor).checkSettings},
	{"guard", (*Doctor).checkGuard},
	{"guard's rights", (*Doctor).checkGuardRights},
	{"pod security", (*Doctor).checkPodSecurity},
	{"SCC", (*Doctor).checkSCC},
	{"runtime class", (*Doctor).checkRuntimeClass},
	{"sidecar image", (*Doctor).checkSidecarImage},
	{"sandbox pod", (*Doctor).checkSandboxPod},
	{"sandbox policy", (*Doctor).checkSandboxPolicy},
}

// Look makes all checks and reports each finding when it is made. If the check of the API server does
// not pass, it is the only one. Look returns an error only if ctx has ended: the cause.
func (d *Doctor) Look(ctx context.Context, report func(Finding)) error {
	for _, c := range checks {
		f, err := d.runCheck(ctx, c)
		if err != nil {
			return err
		}
		report(f)
		if c.name == checks[0].name && f.Status == Missing {
			return nil // no other check can be made
		}
	}
	if d.Route == "" {
		return nil
	}
	return d.checkRoute(ctx, report)
}

// runCheck makes one check.
func (d *Doctor) runCheck(ctx context.Context, c check) (Finding, error) {
	detail, err := c.run(d, ctx)
	return d.newFinding(ctx, c.name, detail, err)
}

// newFinding makes a finding from a check's detail and error. It returns an error only if ctx has ended.
func (d *Doctor) newFinding(ctx context.Context, name, detail string, err error) (Finding, error) {
	switch {
	case err == nil:
		return Finding{Check: name, Status: OK, Detail: detail}, nil
	case ctx.Err() != nil:
		return Finding{}, context.Cause(ctx)
	}
	e := reason.Of(err)
	if e == nil {
		return Finding{Check: name, Status: Unknown, Detail: err.Error()}, nil
	}
	status := Missing
	if n := (*nonBlocking)(nil); errors.As(err, &n) {
		status = n.status
	}
	fix := e.FixFor(d.Command, map[string]string{"namespace": d.Namespace, "user": d.user})
	return Finding{Check: name, Status: status, Detail: e.Error(), Mend: fix, Code: e.Code}, nil
}
