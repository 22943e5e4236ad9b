//go:build e2e && soak

package e2e

import (
	"testing"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// As TestKilledBeforeAndAfterEveryRequest, with pods in the VM.
func TestSoakKilledBeforeAndAfterEveryRequestWithPods(t *testing.T) {
	t.Parallel()
	for verb, args := range map[string][]string{
		"shift":    {"--router", routerIP, "--weight", "100", "--ttl", "10s", "--for", "500ms", "--timeout", "60s"},
		"weight":   {"50", "--router", routerIP},
		"extend":   {"3s"},
		"rollback": {"--drain", "500ms"},
	} {
		t.Run(verb, func(t *testing.T) {
			e := newGuardedEnv(t)
			e.deployment("web", 1, onRealNode)
			run := func(name, config string) *running {
				if verb != "shift" {
					r := e.cli("shift", "--route", name, "--router", routerIP, "--weight", "100", "--ttl", "20s", "--detach")
					if s := session.Of(e.routeNamed(name)); r.code != 0 || s == nil || s.State != session.Live {
						e.t.Errorf("no session to begin with: %s", r)
					}
				}
				return e.start(config, append([]string{verb, "--route", name}, args...)...)
			}
			e.killEverywhere(points(e.record(run, nil)), podsAtATime, run)
		})
	}
}

// podsAtATime bounds the sandboxes that start in the emulated VM at once.
const podsAtATime = 3

// kill -9 of the guard at every write with which it ends what a command left that somebody, or it
// itself, restored: the sandbox of a session that drains, and one that no Route knows.
func TestSoakTheGuardKilledWhileItDeletesASandbox(t *testing.T) {
	for name, c := range map[string]struct {
		writes int
		found  func(*bareSession)
	}{
		"draining": {3, func(b *bareSession) { b.plant(session.Draining, soon) }}, // two deletions, close
		"an orphan": {2, func(b *bareSession) {
			b.within = orphansEndedWithin
			b.plant(session.Draining, soon)
			b.e.ok(session.Store{Core: core, Routes: routes}.Close(b.e.t.Context(), b.e.ns, b.route, b.journal.Session, b.get()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killedWhileItEnds(t, c.writes, c.found)
		})
	}
}
