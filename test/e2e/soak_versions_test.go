//go:build e2e && soak

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// oldVersion is the commit whose sessions must go on when command or guard are updated.
const oldVersion = "fdf4555"

// A session survives an update of the command or of the guard: today's guard ends and holds the
// sessions of an old command, an old guard those of today's, and the commands of either version
// continue and end what the other began.
func TestSoakSessionsOfAnOldVersion(t *testing.T) {
	now := filepath.Dir(binary)
	old := buildOldVersion(t)
	for name, c := range map[string]struct{ guard, begins, continues string }{
		"an old command, today's guard": {now, old, now},
		"today's command, an old guard": {old, now, old},
		"only the guard is updated":     {now, old, old},
		"only the command is updated":   {old, now, now},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			before := e.createShop()
			g := e.startProcess(exec.Command(filepath.Join(c.guard, "osc-guard"), "--home", e.ns, "--kubeconfig", e.prepareOwnGuard(), "--name", "only", "--listen", "127.0.0.1:0"))
			if !g.waitUntilLeading(t.Context(), "only") {
				t.Fatal(g.wait())
			}
			e.eventually("the guard covers the namespace", e.hasGuard)
			start := func(version string, args ...string) *running {
				cmd := exec.Command(filepath.Join(version, "osc-debug"), append([]string{"-n", e.ns}, args...)...)
				cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig("alice"))
				return e.startProcess(cmd)
			}
			run := func(version string, args ...string) {
				t.Helper()
				if r := start(version, args...).wait(); r.code != 0 {
					t.Fatalf("%v: %s", args, r)
				}
			}
			shift := func(more ...string) []string {
				return append([]string{"shift", "--route", "shop", "--router", routerIP, "--weight", "100"}, more...)
			}

			// Its time is over.
			run(c.begins, shift("--detach", "--ttl", "5s")...)
			e.waitForEnd(before)

			// Its command is killed.
			killed := start(c.begins, shift("--ttl", "15s")...)
			if !killed.reaches("live") {
				t.Fatal(killed.wait())
			}
			killed.signal(syscall.SIGKILL)
			killed.wait()
			e.waitForEnd(before)

			// The other version continues and ends it.
			run(c.begins, shift("--detach", "--ttl", "10m")...)
			for _, args := range [][]string{{"weight", "50"}, {"extend", "1m"}, {"status", "-o", "tree"}, {"rollback", "--drain", "1s"}} {
				run(c.continues, args...)
			}
			e.waitForEnd(before)

			// It is held, resumed by the other version, and ended by its own.
			run(c.begins, shift("--detach", "--ttl", "10m")...)
			pod := record.PodName(record.Of(e.shop()).ID, 0)
			e.setReady(pod, false)
			e.eventually("the session is held", func() bool { s := record.Of(e.shop()); return s != nil && s.State == record.Held })
			e.setReady(pod, true)
			e.waitForEndpoints(record.ServiceName(record.Of(e.shop()).ID), true)
			run(c.continues, "weight", "100", "--router", routerIP)
			if s := record.Of(e.shop()); s == nil || s.State != record.Live {
				t.Errorf("the resumed session is %+v", s)
			}
			run(c.begins, "rollback", "--drain", "1s")
			e.waitForEnd(before)
		})
	}
}

// buildOldVersion builds command and guard of oldVersion from the repository's history, and returns
// their folder.
func buildOldVersion(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	run := func(cmd *exec.Cmd) []byte {
		t.Helper()
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", cmd.Args, err, errOut.String())
		}
		return out
	}
	archive := exec.Command("git", "archive", oldVersion)
	archive.Dir = filepath.Join("..", "..")
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(run(archive))
	run(unpack)
	begin := time.Now()
	for _, program := range []string{"osc-debug", "osc-guard"} {
		build := exec.Command("go", "build", "-ldflags", "-X github.com/osc-debug/osc-debug/pkg/cli.sidecarImage="+sidecarImage(t), "-o", filepath.Join(dir, "bin", program), "./cmd/"+program)
		build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		run(build)
	}
	summarize(t, "%s built in %s", oldVersion, fmt.Sprintf("%.0f s", time.Since(begin).Seconds()))
	return filepath.Join(dir, "bin")
}
