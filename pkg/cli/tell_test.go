package cli

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// teller is an app of a user who works in namespace web, and what it prints to stderr.
func teller() (*app, *bytes.Buffer) {
	flags, namespace, out := genericclioptions.NewConfigFlags(true), "web", &bytes.Buffer{}
	flags.Namespace = &namespace
	return &app{IOStreams: genericiooptions.IOStreams{ErrOut: out}, flags: flags, name: "oc osc-debug"}, out
}

func TestAnErrorIsToldWithItsCodeAndWhatToDo(t *testing.T) {
	past := fmt.Errorf("outside: %w", reason.New(reason.SessionPastItsTime, "route", "shop"))
	for _, c := range []struct {
		err    error
		output string
		want   string
	}{
		{errors.New("no answer"), "", "osc-debug: no answer\n"},
		{past, "yaml", "osc-debug: outside: past its time (SessionPastItsTime)\n  end it with 'oc osc-debug rollback --route shop -n web'\n"},
		{errors.Join(past, past), "", "osc-debug: outside: past its time\noutside: past its time (SessionPastItsTime)\n  end it with 'oc osc-debug rollback --route shop -n web'\n"},
		{errors.New("no answer"), "json", `{"error":{"message":"no answer"}}` + "\n"},
		{past, "json", `{"error":{"code":"SessionPastItsTime","message":"outside: past its time","fix":"end it with 'oc osc-debug rollback --route shop -n web'"}}` + "\n"},
	} {
		a, out := teller()
		command := &cobra.Command{}
		command.Flags().String("output", c.output, "")
		if a.tellError(command, c.err); out.String() != c.want {
			t.Errorf("told %q, wanted %q", out, c.want)
		}
	}
}

func TestAWarningIsToldWithItsCodeAndWhatToDo(t *testing.T) {
	past := reason.New(reason.SessionPastItsTime, "route", "shop", "namespace", "shop")
	for want, err := range map[string]error{
		"        warning:   past its time (SessionPastItsTime)\n                   end it with 'oc osc-debug rollback --route shop -n shop'\n": past,
		"        warning:   --force: past its time (SessionPastItsTime)\n":                                                                     &reason.Forced{Refused: past},
		"        warning:   no answer\n": errors.New("no answer"),
	} {
		a, out := teller()
		r := &report{w: out, begin: time.Now(), bold: func(s string) string { return s }, fixes: a.fixes}
		if r.Warn(err); out.String() != want {
			t.Errorf("told %q, wanted %q", out, want)
		}
	}
}

func TestWhoLacksRightsIsRefused(t *testing.T) {
	for want, err := range map[int]error{
		codeRefused: errors.Join(errors.New("no answer"), reason.Forbidden(reason.ImageForbidden)),
		codeError:   reason.New(reason.NoSession),
		codeUsage:   usage(&cobra.Command{}, errors.New("no")),
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: exit code %d, wanted %d", err, got, want)
		}
	}
}
