//go:build e2e && soak

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// A command whose clock is an hour off runs a session as usual, because it uses the API server's
// clock. The command is built from the same sources with a modified time package, whose error the
// environment sets.
func TestSoakACommandWhoseClockIsWrong(t *testing.T) {
	command := buildWithWrongClock(t)
	for _, offset := range []string{"3600", "-3600"} {
		t.Run(offset+" s", func(t *testing.T) {
			e := newGuardedEnv(t)
			before := e.createShop()
			config := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) { forward(w, r) })
			run := func(args ...string) result {
				cmd := exec.Command(command, append([]string{"-n", e.ns}, args...)...)
				cmd.Env = append(os.Environ(), "KUBECONFIG="+config, "OSC_DEBUG_WRONG_CLOCK="+offset)
				return e.startProcess(cmd).wait()
			}
			begin := time.Now()
			if r := run("shift", "--route", "shop", "--router", routerIP, "--weight", "100", "--for", "2s", "--drain", "1s"); r.code != 0 {
				t.Fatal(r)
			}
			if took := time.Since(begin); took > 40*time.Second {
				t.Errorf("a session of 2 s took %s", took)
			}
			e.waitForEnd(before)
			if r := run("shift", "--route", "shop", "--router", routerIP, "--weight", "100", "--ttl", "5s", "--detach"); r.code != 0 {
				t.Fatal(r)
			}
			if r := run("extend", "5s"); r.code != 0 {
				t.Fatal(r)
			}
			s := record.Of(e.shop())
			if left := time.Until(s.Journal.Expires.Time); left < 0 || left > 11*time.Second {
				t.Errorf("by the cluster's clock the session ends in %s, wanted 0 to 11 s", left)
			}
			e.waitForEnd(before)
			if now := time.Now(); now.Before(s.Journal.Expires.Time) {
				t.Errorf("the session ended at %s, before its end time %s", now, s.Journal.Expires)
			}
			for _, args := range [][]string{
				{"shift", "--route", "shop", "--router", routerIP, "--weight", "50", "--ttl", "5m", "--detach"},
				{"weight", "100"},
				{"rollback", "--drain", "1s"},
			} {
				if r := run(args...); r.code != 0 {
					t.Fatal(r)
				}
			}
			e.waitForEnd(before)
		})
	}
}

// buildWithWrongClock builds the command with a clock that is off by OSC_DEBUG_WRONG_CLOCK seconds,
// and returns its path.
func buildWithWrongClock(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	wrong := bytes.Replace(source, []byte(read), []byte(read+"\tsec += wrongBy\n"), 1)
	if bytes.Equal(wrong, source) {
		t.Fatalf("%s does not have the expected function Now", file)
	}
	wrong = append(wrong, []byte(`
var wrongBy = func() (sec int64) {
	text, _ := syscall.Getenv("OSC_DEBUG_WRONG_CLOCK")
	sign := int64(1)
	for _, c := range text {
		if c == '-' {
			sign = -1
		} else {
			sec = 10*sec + int64(c-'0')
		}
	}
	return sign * sec
}()
`)...)
	wrong = bytes.Replace(wrong, []byte("import (\n"), []byte("import (\n\t\"syscall\"\n"), 1)
	changed, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	text, _ := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
	for path, data := range map[string][]byte{changed: wrong, overlay: text} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command := filepath.Join(dir, "osc-debug")
	build := exec.Command("go", "build", "-overlay", overlay, "-ldflags", "-X github.com/osc-debug/osc-debug/pkg/cli.sidecarImage="+sidecarImage(t), "-o", command, "./cmd/osc-debug")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return command
}

// sidecarImage returns the sidecar image that the cluster was started with.
func sidecarImage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(state), "sidecar.ref"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}
