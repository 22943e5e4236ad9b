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

// A command that a message tells the user to give reaches the cluster that he chose.
func TestMessagesNameCommandsAsTheUserGivesThem(t *testing.T) {
	a := &app{name: "oc osc-debug", flags: genericclioptions.NewConfigFlags(true)}
	const message = "ConfigMap osc-debug is missing: 'osc-debug manifests guard | oc apply -f -'; end it with 'osc-debug rollback --route shop -n web'"
	for _, c := range []struct{ context, kubeconfig, want string }{
		{"", "", "ConfigMap osc-debug is missing: 'oc osc-debug manifests guard | oc apply -f -'; end it with 'oc osc-debug rollback --route shop -n web'"},
		{"web/api:6443/alice", "", "ConfigMap osc-debug is missing: 'oc osc-debug manifests guard | oc apply -f -'; end it with 'oc osc-debug rollback --context web/api:6443/alice --route shop -n web'"},
		{"", "my $files/it's", `ConfigMap osc-debug is missing: 'oc osc-debug manifests guard | oc apply -f -'; end it with 'oc osc-debug rollback --kubeconfig 'my $files/it'\''s' --route shop -n web'`},
	} {
		a.flags.Context, a.flags.KubeConfig = &c.context, &c.kubeconfig
		if got := a.say(message); got != c.want {
			t.Errorf("%q\nwanted %q", got, c.want)
		}
	}
}
