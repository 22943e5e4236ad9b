// Package doctor finds out whether sessions can be held in a namespace: the same checks as
// a session's own preflight, and those of the cluster around it. It reads, and has the API
// server judge pods without making them; only Try makes one.
package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/session"
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
}

// Doctor looks at one namespace.
type Doctor struct {
	session.Store
	Clock        *kube.Clock
	Namespace    string
	RuntimeClass string
	Image        string // of the sidecar
	Route        string // "" for none

	// What earlier checks found.
	settings settings.Settings
	user     string
}

// check is one thing to look at. run returns what it found where all is well; a *trouble
// says what is not.
type check struct {
	name string
	run  func(*Doctor, context.Context) (detail string, err error)
}

// trouble is what a check found wrong.
type trouble struct {
	status Status
	detail string
	mend   string
}

func (t *trouble) Error() string { return t.detail }

func missing(mend, format string, args ...any) error {
	return &trouble{Missing, fmt.Sprintf(format, args...), mend}
}

func unknown(mend, format string, args ...any) error {
	return &trouble{Unknown, fmt.Sprintf(format, args...), mend}
}

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
	var t *trouble
	var refusal *preflight.Refusal
	switch {
	case err == nil:
		return Finding{name, OK, detail, ""}, nil
	case ctx.Err() != nil:
		return Finding{}, context.Cause(ctx)
	case errors.As(err, &t):
		return Finding{name, t.status, t.detail, preflight.Concrete(t.mend, d.Namespace, d.user)}, nil
	case errors.As(err, &refusal):
		return Finding{name, Missing, refusal.Cause.Error(), preflight.Concrete(refusal.Mend, d.Namespace, d.user)}, nil
	}
	return Finding{name, Unknown, err.Error(), ""}, nil
}
