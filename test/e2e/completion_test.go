//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// The Tab key offers the names of existing objects.
func TestTheShellCompletesNames(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	e.route(func(r *routev1.Route) { r.Name, r.Spec.Host = "other", "other-"+r.Spec.Host })
	for flag, want := range map[string]string{
		"--route": "other shop", "--workload": "deployment/web", "--container": "web", "--trace": strings.Join(gadget.Names(), " "), "--dry-run": "none client server",
	} {
		// Completion gives up on names that it cannot read within two seconds.
		e.eventually(flag+" completes to "+want, func() bool {
			var got []string
			for line := range strings.Lines(e.cli("__complete", "shift", flag, "").out) {
				if name, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(name, ":") {
					got = append(got, name)
				}
			}
			return strings.Join(got, " ") == want
		})
	}
}

// The real kubectl runs the command as a plugin. Its help then shows the name it was called by, and
// completion works.
func TestAPluginOfKubectl(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	j := e.plant("shop", record.Held, 10*time.Minute)
	bin := t.TempDir()
	e.ok(os.Symlink(binary, filepath.Join(bin, "kubectl-osc_debug")))
	kubectl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(state, "kubectl"), append([]string{"osc-debug"}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig("alice"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	if help := kubectl("status", "--help"); !strings.Contains(help, "kubectl osc-debug status --route echo-route -o tree -w") || !strings.Contains(help, "kubectl osc-debug status [flags]") {
		t.Errorf("help: %s", help)
	}
	if out := kubectl("status", "-n", e.ns, "-o", "name"); strings.TrimSpace(out) != j.Session {
		t.Errorf("status: %q, wanted %s", out, j.Session)
	}
	e.eventually("--session completes to "+j.Session, func() bool {
		return strings.HasPrefix(kubectl("__complete", "weight", "-n", e.ns, "--session", ""), j.Session)
	})
	if r := e.cli("rollback", "--drain", "0s"); r.code != 0 {
		t.Error(r)
	}
}
