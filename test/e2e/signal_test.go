//go:build e2e

package e2e

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// allowedExitCodes lists, for every step, the exit codes with which a session that is interrupted
// at the step may end. The signal may arrive just after the step is done, so verify, the last step
// before live, may also end like a live session.
var allowedExitCodes = map[string][]int{
	"preflight": {130}, "arm": {130}, "build": {130}, "prove": {130}, "shift": {130}, "verify": {130, 0},
	"live": {0}, "restore": {0}, "drain": {0}, "delete": {0}, "close": {0},
}

func TestEveryStepHasACase(t *testing.T) {
	for _, step := range session.Steps() {
		if allowedExitCodes[step] == nil {
			t.Errorf("step %s has no test case", step)
		}
	}
}

// After a signal at any step, everything is undone.
func TestASignalAtAnyStepUndoesEverything(t *testing.T) {
	t.Parallel()
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	first := intFromEnv(t, "OSC_DEBUG_SEED", int(rand.Uint32()))
	summarize(t, "seed %d chooses which of %d signals is sent at which step", first, len(signals))
	for n, s := range signals {
		for m, step := range session.Steps() {
			if !full && (first+n+m)%len(signals) != 0 {
				continue
			}
			t.Run(s.String()+" at "+step, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t)
				e.deployment("web", 1, nil)
				e.route(nil)
				before := e.snapshot()
				run := e.shift("--weight", "100", "--exact", "--for", "1s")
				if !run.reaches(step) {
					t.Fatal(run.wait())
				}
				run.signal(s)
				r := run.wait()
				allowed := false
				for _, code := range allowedExitCodes[step] {
					allowed = allowed || code == r.code
				}
				if !allowed {
					t.Errorf("the exit code is not one of %v: %s", allowedExitCodes[step], r)
				}
				if after := e.snapshot(); after != before {
					t.Errorf("before %s\nafter  %s", before, after)
				}
				e.checkNothingLeft()
			})
		}
	}
}

// A session whose command was killed at any step is ended by 'rollback', which needs only the
// Route. Rolling back twice is not an error.
func TestRollbackCompletesWhatAKilledShiftLeft(t *testing.T) {
	t.Parallel()
	for _, step := range session.Steps() {
		t.Run("killed at "+step, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.deployment("web", 1, nil)
			e.route(nil)
			before := e.snapshot()
			run := e.shift("--weight", "100", "--exact", "--for", "1s")
			if !run.reaches(step) {
				t.Fatal(run.wait())
			}
			run.signal(syscall.SIGKILL)
			run.wait()
			time.Sleep(2 * time.Second) // requests that it had sent still arrive
			for range 2 {
				if r := e.cli("rollback", "--route", "shop", "--drain", "1s"); r.code != 0 {
					t.Fatal(r)
				}
			}
			if after := e.snapshot(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.checkNothingLeft()
		})
	}
}

// After a second signal the command quits at once and prints the command that restores the Route,
// which then works.
func TestASecondInterruptPrintsTheWayBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.snapshot()
	run := e.shift("--weight", "100", "--exact", "--drain", "1m")
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	run.signal(syscall.SIGINT)
	if !run.reaches("drain") {
		t.Fatal(run.wait())
	}
	run.signal(syscall.SIGINT)
	r := run.wait()
	_, command, found := strings.Cut(r.errOut, "Restore with:\n  osc-debug ")
	if r.code != 130 || !found {
		t.Fatalf("wanted exit 130 and the restoring command: %s", r)
	}
	args := strings.Fields(strings.SplitN(command, "\n", 2)[0])
	if r := e.cli(append(args, "--drain", "1s")...); r.code != 0 {
		t.Fatal(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}
