package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/kubectl/pkg/util/term"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

type execFlags struct {
	route, session, container string
	stdin, tty                bool
}

func (a *app) execCommand() *cobra.Command {
	f := &execFlags{}
	c := &cobra.Command{
		Use:   "exec [-it] [-- COMMAND [ARG...]]",
		Short: "Run a command in the sandbox's sidecar, as root of its VM",
		Long: `Run a command (default: an interactive shell) in the sidecar of a session's first sandbox
pod; 'oc exec POD -c osc-debug' reaches the others. The command sees the program's network
and its processes, except in a session with --separate-pids. The exit code is the command's
own, or 125 if the command could not be run.`,
		Example: `  osc-debug exec -it
  osc-debug exec --route echo-route -- tcpdump -c 10 -n -i any port 8080`,
		RunE: func(c *cobra.Command, args []string) error {
			err := a.runExec(c, f, args)
			var exit *exitError
			if err != nil && !errors.As(err, &exit) {
				return &exitError{code: codeExecFailed, err: err}
			}
			return err
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.route, "route", "", "Route of the session")
	fl.StringVarP(&f.session, "session", "s", "", "ID of the session")
	fl.StringVarP(&f.container, "container", "c", record.Sidecar, "container to run in")
	fl.BoolVarP(&f.stdin, "stdin", "i", false, "pass standard input to the command")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the command a terminal")
	a.completions(c)
	return c
}

func (a *app) runExec(c *cobra.Command, f *execFlags, args []string) error {
	if len(args) > 0 && c.ArgsLenAtDash() != 0 {
		return usage(c, fmt.Errorf("put -- before the command: %s", a.command("exec", append([]string{"--"}, args...)...)))
	}
	if len(args) == 0 {
		args, f.stdin, f.tty = []string{"bash"}, true, isTerminal(a.raw.Out)
	}
	clients, err := a.clients()
	if err != nil {
		return err
	}
	target, err := clients.finder().Which(c.Context(), f.route, f.session)
	if err != nil {
		return err
	}
	if target.Session == nil {
		return target.None()
	}
	streams := remotecommand.StreamOptions{Stdout: a.raw.Out, Stderr: a.raw.ErrOut, Tty: f.tty}
	if f.stdin {
		streams.Stdin = a.In
	}
	run := func() error {
		return exec.Client{Config: clients.config, Core: clients.Core}.Stream(c.Context(), clients.namespace,
			record.PodName(target.Session.ID, 0), f.container, args, streams)
	}
	if f.tty {
		streams.Stderr = nil // a terminal has one stream
		tty := term.TTY{In: a.In, Out: a.raw.Out, Raw: true}
		if tty.IsTerminalIn() {
			streams.TerminalSizeQueue = sizes{tty.MonitorSize(tty.GetSize())}
		}
		err = tty.Safe(run)
	} else {
		err = run()
	}
	var remote utilexec.CodeExitError
	if errors.As(err, &remote) {
		return &exitError{code: remote.Code, err: err, silent: true}
	}
	return err
}

// sizes hands terminal sizes from one library's type to another's.
type sizes struct{ term.TerminalSizeQueue }

// Next waits for the next size.
func (s sizes) Next() *remotecommand.TerminalSize {
	size := s.TerminalSizeQueue.Next()
	if size == nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: size.Width, Height: size.Height}
}
