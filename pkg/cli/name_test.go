package cli

import (
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
)

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

// A command that a message names reaches the cluster that the user chose.
func TestCommandsAreNamedAsTheUserGivesThem(t *testing.T) {
	a := &app{name: "oc osc-debug", flags: genericclioptions.NewConfigFlags(true)}
	for _, c := range []struct{ context, kubeconfig, want string }{
		{"", "", "oc osc-debug rollback --route shop -n web"},
		{"web/api:6443/alice", "", "oc osc-debug rollback --context web/api:6443/alice --route shop -n web"},
		{"", "my $files/it's", `oc osc-debug rollback --kubeconfig 'my $files/it'\''s' --route shop -n web`},
	} {
		a.flags.Context, a.flags.KubeConfig = &c.context, &c.kubeconfig
		if got := a.command("rollback", "--route", "shop", "-n", "web"); got != c.want {
			t.Errorf("%q\nwanted %q", got, c.want)
		}
		if got := a.command("manifests", "guard"); got != "oc osc-debug manifests guard" {
			t.Errorf("%q: manifests reach no cluster", got)
		}
	}
}
