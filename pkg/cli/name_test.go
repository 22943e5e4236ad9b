package cli

import "testing"

func TestTheCommandIsNamedAsItWasCalled(t *testing.T) {
	for arg0, want := range map[string]string{
		"osc-debug": "osc-debug", "/usr/local/bin/osc-debug": "osc-debug", "./bin/osc-debug-linux-amd64": "osc-debug",
		"/usr/bin/kubectl-osc_debug": "kubectl osc-debug", "kubectl-osc_debug.exe": "kubectl osc-debug", "oc-osc_debug": "oc osc-debug",
	} {
		if got := displayName(arg0); got != want {
			t.Errorf("%s: %q, wanted %q", arg0, got, want)
		}
	}
}
