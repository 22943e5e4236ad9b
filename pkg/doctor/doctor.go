// Package doctor finds out whether sessions can be held in a namespace: the same checks as
// a session's own preflight, and those of the cluster around it. It reads, and has the API
// server judge pods without making them; only Try makes one.
package doctor

import (
	"context"
	"errors"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Status is what a check found.
type Status string

// Statuses.
const (
	OK      Status = "ok"
	Missing Status = "missing" // sessions can't be held
	Warning Status = "warning" // they can, but less safely
	Unknown Status = "unknown" // can't be told from here
)

// Finding is what a check found.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"` // the command, or whom to ask
	// Code is the reason's, "" where all is well, and where the cluster did not answer.
	Code reason.Code `json:"code,omitempty"`
}

// Doctor looks at one namespace.
type Doctor struct {
	store.Store
	Clock        *kube.Clock
	Namespace    string
	RuntimeClass string
	Image        string // of the sidecar
	Route        string // "" for none
	// Command is a command of ours as the user gives it, by its verb; nil: plainly.
	Command func(verb string) string

	// What earlier checks found.
	settings settings.Settings
	user     string
}

// check is one thing to look at. run returns what it found where all is well. An error that has
// a reason says what is missing, a *trouble what is less than that.
type check struct {
	name string
	run  func(*Doctor, context.Context) (detail string, err error)
}

// trouble is a finding that does not keep sessions from being held.
type trouble struct {
	status Status
	why    *reason.Error
}

func (t *trouble) Error() string { return t.why.Error() }

// Unwrap is its reason.
func (t *trouble) Unwrap() error { return t.why }

func warning(e *reason.Error) error { return &trouble{Warning, e} }
func unknown(e *reason.Error) error { return &trouble{Unknown, e} }

// checks in the order in which a person would ask them.
var checks = []check{
	{"API server", (*Doctor).apiServer},
	{"permissions", (*Doctor).permissions},
	{"settings", (*Doctor).readSettings},
	{"guard", (*Doctor).guard},
	{"guard's rights", (*Doctor).guardsRights},
	{"pod security", (*Doctor).podSecurity},
	{"SCC", (*Doctor).scc},
	{"runtime class", (*Doctor).runtimeClasses},
	{"sidecar image", (*Doctor).sidecarImage},
	{"sandbox pod", (*Doctor).sandboxPod},
	{"sandbox policy", (*Doctor).sandboxPolicy},
}

// Look runs all checks and tells each finding as it is made. An error is one of talking to
// the cluster: nothing more can be said then.
func (d *Doctor) Look(ctx context.Context, tell func(Finding)) error {
	for _, c := range checks {
		f, err := d.look(ctx, c)
		if err != nil {
			return err
		}
		tell(f)
		if c.name == checks[0].name && f.Status == Missing {
			return nil // nothing else can be asked
		}
	}
	if d.Route == "" {
		return nil
	}
	return d.route(ctx, tell)
}

func (d *Doctor) look(ctx context.Context, c check) (Finding, error) {
	detail, err := c.run(d, ctx)
	return d.found(ctx, c.name, detail, err)
}

// found makes a finding of what a check returned.
func (d *Doctor) found(ctx context.Context, name, detail string, err error) (Finding, error) {
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
	if t := (*trouble)(nil); errors.As(err, &t) {
		status = t.status
	}
	mend := e.FixFor(d.Command, map[string]string{"namespace": d.Namespace, "user": d.user})
	return Finding{Check: name, Status: status, Detail: e.Error(), Mend: mend, Code: e.Code}, nil
}
