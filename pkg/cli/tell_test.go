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

// appOf is an app of a user who works in namespace web, and what it prints to stderr.
func appOf() (*app, *bytes.Buffer) {
	flags, namespace, out := genericclioptions.NewConfigFlags(true), "web", &bytes.Buffer{}
	flags.Namespace = &namespace
	streams := genericiooptions.IOStreams{ErrOut: out}
	return &app{IOStreams: streams, raw: streams, flags: flags, name: "oc osc-debug"}, out
}

func TestAnErrorIsPrintedWithItsCodeAndFix(t *testing.T) {
	past := fmt.Errorf("outside: %w", reason.New(reason.SessionPastItsTime, "route", "shop"))
	for _, c := range []struct {
		err    error
		output string
		want   string
	}{
		{errors.New("no answer"), "", "osc-debug: no answer\n"},
		{past, "yaml", "osc-debug: outside: the session is past its end time (SessionPastItsTime)\n  end it: oc osc-debug rollback --route shop -n web\n"},
		{errors.Join(past, past), "", "osc-debug: outside: the session is past its end time\n  outside: the session is past its end time (SessionPastItsTime)\n  end it: oc osc-debug rollback --route shop -n web\n"},
		{errors.New("no answer"), "json", `{"error":{"message":"no answer"}}` + "\n"},
		{past, "json", `{"error":{"code":"SessionPastItsTime","message":"outside: the session is past its end time","fix":"end it: oc osc-debug rollback --route shop -n web"}}` + "\n"},
	} {
		a, out := appOf()
		command := &cobra.Command{}
		command.Flags().String("output", c.output, "")
		if a.printError(command, c.err); out.String() != c.want {
			t.Errorf("printed %q, wanted %q", out, c.want)
		}
	}
}

func TestAWarningIsPrintedWithItsCodeAndFix(t *testing.T) {
	past := reason.New(reason.SessionPastItsTime, "route", "shop", "namespace", "shop")
	for want, err := range map[string]error{
		"        warning:   the session is past its end time (SessionPastItsTime)\n                   end it: oc osc-debug rollback --route shop -n shop\n": past,
		"        warning:   --force: the session is past its end time (SessionPastItsTime)\n":                                                               &reason.Forced{Refused: past},
		"        warning:   no answer\n": errors.New("no answer"),
	} {
		a, out := appOf()
		r := &report{w: out, begin: time.Now(), bold: func(s string) string { return s }, fixes: a.fixes}
		if r.Warn(err); out.String() != want {
			t.Errorf("printed %q, wanted %q", out, want)
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

// Text that others wrote into the cluster cannot steer the terminal.
func TestControlCharactersAreNotPrinted(t *testing.T) {
	a, out := appOf()
	a.printError(&cobra.Command{}, errors.New("user \x1b]0;owned\x07\x1b[2J\u202e"))
	if want := "osc-debug: user \ufffd]0;owned\ufffd\ufffd[2J\ufffd\n"; out.String() != want {
		t.Errorf("printed %q, wanted %q", out, want)
	}
}
