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

// outage simulates an API server that is down for a while: it cuts responses under way and resets
// new connections. When the API server is up again, it first answers 403 to everyone, as a real one
// does until it has read the roles.
type outage struct {
	starts time.Duration // how long it answers 403

	mu      sync.Mutex
	down    bool
	started time.Time
	cut     []context.CancelFunc
	// restored is when the last patch of a Route before the first deletion of a pod was answered,
	// deleted is when that deletion was sent.
	restored, deleted time.Time
}

func (o *outage) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	o.mu.Lock()
	down, starts := o.down, time.Since(o.started) < o.starts
	o.cut = append(o.cut, cancel)
	o.mu.Unlock()
	if down {
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
	a := &statusRecorder{ResponseWriter: w}
	defer func() { // forward panics if the answer is cut; what was written is written
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/routes/") && a.code == http.StatusOK {
			o.note(func() {
				if o.deleted.IsZero() {
					o.restored = time.Now()
				}
			})
		}
	}()
	forward(a, r.WithContext(ctx))
}

func (o *outage) note(what func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	what()
}

func (o *outage) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = true
	for _, cancel := range o.cut {
		cancel()
	}
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down, o.started = false, time.Now()
}

// outageTime is how long the API server is down in these tests, and how long it then answers 403.
// After an outage, routers may be late by twice its duration or more, so no sandbox may be deleted
// earlier than earliestDeletion after its Route's restore.
const (
	outageTime       = 3 * time.Second
	earliestDeletion = outageTime + outageTime/2
)

// A session is interrupted while the API server is down. Ending the session waits until the API
// server has started. If the router is not probed, the sandbox also stays until routers that are
// late have caught up.
func TestTheWayBackOutlastsAnAPIServerThatStarts(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]bool{"the router is probed": true, "the router is not probed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			before := e.createShop()
			server := &outage{starts: outageTime}
			args := []string{"shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard", "--weight", "50"}
			if !asked {
				args = append(args, "--no-probe")
			}
			run := e.start(e.proxied("alice", server.handle), args...)
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			server.begin()
			run.signal(syscall.SIGINT)
			time.Sleep(outageTime)
			server.end()
			r := run.wait()
			if !asked {
				server.checkSandboxStayed(t)
			}
			if r.code != 0 || !strings.Contains(r.errOut, "failed, retrying") {
				t.Error(r)
			}
			if after := e.snapshot(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.checkNothingLeft()
		})
	}
}

// A rollback of a session without a guard waits for the API server too: at once, or in steps because
// an autoscaler scaled the original down.
func TestARollbackOutlastsAnAPIServerThatStarts(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]string{"at once": "drain", "in steps": "ramp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			before := e.createShop()
			if step == "ramp" {
				e.autoscaler("web")
			}
			e.plant("shop", record.Live, time.Hour)
			server := &outage{starts: outageTime}
			run := e.start(e.proxied("alice", server.handle), "rollback", "--route", "shop", "--drain", "1s")
			if !run.reaches(step) {
				t.Fatal(run.wait())
			}
			server.begin()
			time.Sleep(outageTime)
			server.end()
			r := run.wait()
			if r.code != 0 || step == "drain" && !strings.Contains(r.errOut, "failed, retrying") {
				t.Error(r)
			}
			if after := e.snapshot(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.checkNothingLeft()
		})
	}
}

// The guard ends a session that expired while the API server was down, and keeps the sandbox until
// routers have caught up.
func TestTheGuardLetsRoutersCatchUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	account := e.prepareOwnGuard("drain=1s")
	before := sessionFields(e.createPlainRoute("shop"))
	server := &outage{}
	g := e.startGuard("only", e.proxied(account, server.handle))
	if !g.waitUntilLeading(t.Context(), "only") {
		t.Fatal(g.wait())
	}
	server.begin() // only for the guard
	e.plant("shop", record.Live, outageTime)
	time.Sleep(2 * outageTime)
	server.end()
	e.eventually("the session has ended", func() bool { return sessionFields(e.shop()) == before && e.countSessionObjects() == 0 })
	server.checkSandboxStayed(t)
	// A guard whose restore was not answered gives the routers a minute in any case.
	if log := g.progress.String(); !strings.Contains(log, "routers may be late after an outage") && !strings.Contains(log, "cannot end session, retrying") {
		t.Error("the guard's log does not say why the sandbox stayed")
	}
}

// checkSandboxStayed checks that the sandbox existed for as long as a late router may have sent
// users to it. It compares the times of the client's own requests, which a slow machine only moves
// further apart.
func (o *outage) checkSandboxStayed(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.restored.IsZero() || o.deleted.IsZero() {
		t.Errorf("missing a restore (%s) or a deletion (%s)", o.restored, o.deleted)
	}
	if after := o.deleted.Sub(o.restored); after < earliestDeletion {
		t.Errorf("the sandbox was deleted %s after its Route's restore, wanted %s or more", after, earliestDeletion)
	}
}
