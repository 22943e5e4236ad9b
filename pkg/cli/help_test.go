package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func rootOf(out io.Writer) *cobra.Command {
	a := &app{IOStreams: genericiooptions.IOStreams{Out: out, ErrOut: out}, flags: genericclioptions.NewConfigFlags(true), name: "osc-debug"}
	return a.root()
}

// Every flag of shift stands under a heading, and the flags that all commands have stand under
// 'osc-debug options' only.
func TestFlagsAreGroupedAndGlobalOnesApart(t *testing.T) {
	var out bytes.Buffer
	root := rootOf(&out)
	shift, _, err := root.Find([]string{"shift"})
	if err != nil {
		t.Fatal(err)
	}
	shift.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[groupKey] == nil && f.Name != "help" {
			t.Errorf("--%s has no group", f.Name)
		}
	})
	for _, c := range []struct {
		args    []string
		has, no string
	}{
		{[]string{"shift", "--help"}, "\nTraffic:\n", "--kubeconfig"},
		{[]string{"status", "--help"}, "osc-debug options", "--kubeconfig"},
		{[]string{"options"}, "--kubeconfig", "--weight"},
	} {
		out.Reset()
		root := rootOf(&out)
		root.SetArgs(c.args)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); !strings.Contains(text, c.has) || strings.Contains(text, c.no) {
			t.Errorf("%v: wanted %q and no %q in:\n%s", c.args, c.has, c.no, text)
		}
	}
}

// The Route may be an argument or a flag; two different ones are refused.
func TestTheRouteIsAnArgumentOrAFlag(t *testing.T) {
	for _, c := range []struct {
		flag string
		args []string
		want string // "": refused
	}{
		{"", []string{"web"}, "web"}, {"web", nil, "web"}, {"web", []string{"web"}, "web"}, {"shop", []string{"web"}, ""}, {"", []string{""}, ""}, {"", []string{"web", "shop"}, ""},
	} {
		route := c.flag
		err := routeArg(&route)(&cobra.Command{}, c.args)
		if (err == nil) != (c.want != "") || err == nil && route != c.want {
			t.Errorf("--route %q %v: %q, %v", c.flag, c.args, route, err)
		}
	}
}

// Help shows a command's flags in the order of their definition: the most important ones come first.
func TestShiftsHelpBeginsWithTheTraffic(t *testing.T) {
	var out bytes.Buffer
	root := rootOf(&out)
	root.SetArgs([]string{"shift", "--help"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, want := range []string{"Traffic:", "--route", "--weight", "--steps", "Duration and end:", "--for"} {
		at := strings.Index(out.String(), "\n"+want)
		if strings.HasPrefix(want, "--") {
			at = strings.Index(out.String(), "      "+want+" ")
		}
		if at <= last {
			t.Errorf("%q is not where it should be in\n%s", want, out.String())
		}
		last = at
	}
}
