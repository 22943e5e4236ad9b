//go:build e2e

package e2e

import (
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
)

// The tab key offers the names of what is there.
func TestTheShellCompletesNames(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	e.route(func(r *routev1.Route) { r.Name, r.Spec.Host = "other", "other-"+r.Spec.Host })
	for flag, want := range map[string]string{
		"--route": "other shop", "--workload": "deployment/web", "--container": "web", "--trace": "open tcp", "--dry-run": "none client server",
	} {
		var got []string
		for line := range strings.Lines(e.cli("__complete", "shift", flag, "").out) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, ":") {
				got = append(got, line)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s completes to %q, not %q", flag, got, want)
		}
	}
}
