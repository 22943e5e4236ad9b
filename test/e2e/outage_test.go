//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// outage is an API server that is away for a while: what it answers is cut, what comes is
// refused. When it starts again it first allows nobody anything, until it has read the roles.
type outage struct {
	starts time.Duration // how long that takes

	mu      sync.Mutex
	away    bool
	started time.Time
	cut     []context.CancelFunc
	// When the last patch of a Route was done before the first deletion of a pod began.
	restored, deleted time.Time
}

func (o *outage) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	o.mu.Lock()
	away, starts := o.away, time.Since(o.started) < o.starts
	o.cut = append(o.cut, cancel)
	o.mu.Unlock()
	if away {
		reset(w)
		return
	}
	if starts {
		refuse(w, "403")
		return
	}
	if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/pods/") {
		o.note(func() {
			if o.deleted.IsZero() {
				o.deleted = time.Now()
			}
		})
	}
	a := &answered{ResponseWriter: w}
	forward(a, r.WithContext(ctx))
	if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/routes/") && a.code == http.StatusOK {
		o.note(func() {
			if o.deleted.IsZero() {
				o.restored = time.Now()
			}
		})
	}
}

func (o *outage) note(what func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	what()
}

func (o *outage) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = true
	for _, cancel := range o.cut {
		cancel()
	}
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.started = false, time.Now()
}

// aWhile is how long an API server is away here, and how long it then refuses everybody. Routers
// may be late by at least twice the first: no sandbox is to go that soon.
const (
	aWhile   = 3 * time.Second
	tooEarly = aWhile + aWhile/2
)

// A session is interrupted while the API server is away, which then refuses everybody for a
// while, as it does until it has read the roles: the way back waits for it. Where the router is
// not asked, the sandbox stays for it.
func TestTheWayBackOutlastsAnAPIServerThatStarts(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]bool{"the router is asked": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			before := e.standard()
			away := &outage{starts: aWhile}
			args := []string{"shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard", "--weight", "50"}
			if !asked {
				args = append(args, "--no-probe")
			}
			run := e.start(e.proxied("alice", away.handle), args...)
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			away.begin()
			run.signal(syscall.SIGINT)
			time.Sleep(aWhile)
			away.end()
			r := run.wait()
			if !asked {
				away.stayed(t)
			}
			if r.code != 0 || !strings.Contains(r.errOut, "not yet, trying on") {
				t.Error(r)
			}
			if after := e.tested(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.nothingLeft()
		})
	}
}

// A rollback, at once or in steps for an original that an autoscaler shrank, of a session that no
// guard watches.
func TestARollbackOutlastsAnAPIServerThatStarts(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]string{"at once": "drain", "in steps": "ramp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			before := e.standard()
			if step == "ramp" {
				e.autoscaler("web")
			}
			e.plant("shop", record.Live, time.Hour)
			away := &outage{starts: aWhile}
			run := e.start(e.proxied("alice", away.handle), "rollback", "--route", "shop", "--drain", "1s")
			if !run.reaches(step) {
				t.Fatal(run.wait())
			}
			away.begin()
			time.Sleep(aWhile)
			away.end()
			r := run.wait()
			if r.code != 0 || step == "drain" && !strings.Contains(r.errOut, "not yet, trying on") {
				t.Error(r)
			}
			if after := e.tested(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.nothingLeft()
		})
	}
}

// The guard, for a session whose time is over while the API server is away.
func TestTheGuardLetsRoutersCatchUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	account := e.ownGuards("drain=1s")
	before := looks(e.plainRoute("shop"))
	away := &outage{}
	g := e.guard("only", e.proxied(account, away.handle))
	if !g.leads(t.Context(), "only") {
		t.Fatal(g.wait())
	}
	away.begin() // for the guard alone
	e.plant("shop", record.Live, aWhile)
	time.Sleep(2 * aWhile)
	away.end()
	e.eventually("the session is over", func() bool { return looks(e.shop()) == before && e.sandboxes() == 0 })
	away.stayed(t)
	if !strings.Contains(g.progress.String(), "routers may be late after an outage") {
		t.Error("the guard's log does not tell why the sandbox stayed")
	}
}

// stayed sees that the sandbox was still there when a router that is late may still have sent users
// to it: by the times of the client's own requests, which a slow machine only draws apart.
func (o *outage) stayed(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.restored.IsZero() || o.deleted.IsZero() {
		t.Errorf("no restore or no deletion: %s, %s", o.restored, o.deleted)
	}
	if after := o.deleted.Sub(o.restored); after < tooEarly {
		t.Errorf("the sandbox was deleted %s after its Route's restore, before %s", after, tooEarly)
	}
}
