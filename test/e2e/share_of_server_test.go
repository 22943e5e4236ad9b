//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/settings"
)

// The API server answers the guard at a priority level of its own, and its Lease at the level of Kubernetes'
// controllers. Requests of other ServiceAccounts, which anyone can make thousands of, wait elsewhere.
func TestTheGuardsShareOfTheAPIServer(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	config := e.guardConfig()
	var level string
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil {
				level = response.Header.Get("X-Kubernetes-Pf-Prioritylevel-Uid")
			}
			return response, err
		})
	})
	guard, guardRoutes := clientsOf(config)
	uidOf := func(name string) string {
		l, err := core.FlowcontrolV1().PriorityLevelConfigurations().Get(t.Context(), name, metav1.GetOptions{})
		e.ok(err)
		return string(l.UID)
	}
	own, leases, others := uidOf("osc-debug-guard"), uidOf("leader-election"), uidOf("workload-low")

	_, err := guard.CoordinationV1().Leases(settings.Home).Get(t.Context(), settings.LeaseName, metav1.GetOptions{})
	e.ok(err)
	if level != leases {
		t.Errorf("the Lease is read at priority level %s, want leader-election (%s)", level, leases)
	}
	_, err = guardRoutes.RouteV1().Routes(e.ns).List(t.Context(), metav1.ListOptions{})
	e.ok(err)
	if level != own {
		t.Errorf("Routes are read at priority level %s, want osc-debug-guard (%s)", level, own)
	}
	if level == others {
		t.Error("Routes are read at the level of all ServiceAccounts")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
