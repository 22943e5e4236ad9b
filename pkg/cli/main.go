// Package cli is the command line: one file per command, which reads flags, calls another package
// once, and prints. Data goes to stdout, progress and warnings to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"

	"github.com/osc-debug/osc-debug/pkg/terminal"
)

// app is what every command works with.
type app struct {
	genericiooptions.IOStreams                            // escapes what is not printable: see terminal.Writer
	raw                        genericiooptions.IOStreams // for what must arrive as it is
	flags                      *genericclioptions.ConfigFlags
	interrupt                  *interrupt
	name                       string // what the user calls us by: see displayName
}

// Main runs the command line and returns its exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	// A reader that closes our output ('| head') must not kill a session before it is rolled
	// back: writes then fail instead.
	signal.Ignore(syscall.SIGPIPE)
	klog.SetLogger(logr.Discard()) // client-go's log is not for users: errors are returned
	a := &app{
		IOStreams: genericiooptions.IOStreams{In: in, Out: terminal.NewWriter(out, false), ErrOut: terminal.NewWriter(errOut, showsColor(errOut))},
		raw:       genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut},
		flags:     genericclioptions.NewConfigFlags(true),
		name:      displayName(args[0]),
	}
	ctx, interrupt := watchSignals(a.ErrOut)
	defer interrupt.stop()
	a.interrupt = interrupt
	root := a.root()
	rename(root, a.name)
	root.SetArgs(args[1:])
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return codeOK
	}
	var exit *exitError
	if c == root && !errors.As(err, &exit) {
		err = usage(root, err) // an unknown command
	}
	if errors.As(err, &exit) && exit.silent {
		return exit.code
	}
	a.printError(c, err)
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "osc-debug",
		Short: "Debug a live OpenShift workload with root tools, in a VM",
		Long: `osc-debug clones a live workload into a sandbox: pods in VMs of their own (OpenShift
sandboxed containers) with a privileged sidecar. It moves some of a Route's traffic there,
traces the program in the VM's own kernel, and restores everything.`,
		Example: `  # Send all new clients of a Route to a sandbox for a minute; trace files and connections
  osc-debug shift echo-route --weight 100 --trace open,tcp --for 1m

  # List the sessions, and end one
  osc-debug status
  osc-debug rollback echo-route`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.ErrOut)
	root.SetUsageFunc(a.printUsage)
	root.PersistentPreRunE = refuseEmptyNames
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	a.clusterFlags(root.PersistentFlags())
	_ = root.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions)
	root.AddCommand(a.shiftCommand(), a.statusCommand(), a.weightCommand(), a.extendCommand(), a.rollbackCommand(),
		a.traceCommand(), a.captureCommand(), a.collectCommand(), a.cpCommand(), a.execCommand(), a.doctorCommand(), a.manifestsCommand(), a.optionsCommand(root), a.versionCommand(), a.manCommand(root))
	return root
}

// clusterFlags are kubectl's own, except that -s is a session here, not a server.
func (a *app) clusterFlags(flags *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	a.flags.AddFlags(own)
	own.VisitAll(func(f *pflag.Flag) {
		if f.Shorthand == "s" {
			f.Shorthand = ""
		}
		if f.Name == "cache-dir" {
			f.DefValue = "$HOME/.kube/cache" // otherwise manual pages show the home directory of the build
		}
		flags.AddFlag(f)
	})
}

// noArgs is cobra.NoArgs with our exit code for wrong usage.
func noArgs(c *cobra.Command, args []string) error {
	if err := cobra.NoArgs(c, args); err != nil {
		return usage(c, err)
	}
	return nil
}

// interrupt cancels a context at the first signal. The second signal ends the process at once. Both
// print what follows.
type interrupt struct {
	signals chan os.Signal
	cancel  context.CancelFunc
	texts   atomic.Pointer[interruptTexts]
	closed  chan struct{}
}

// interruptTexts are what signals print.
type interruptTexts struct {
	first  string // what happens at the first signal, such as "rolling back"
	quit   string // what the second does, such as "quit without cleaning up"
	second string // what the second prints
}

func watchSignals(errOut io.Writer) (context.Context, *interrupt) {
	ctx, cancel := context.WithCancel(context.Background())
	i := &interrupt{signals: make(chan os.Signal, 4), cancel: cancel, closed: make(chan struct{})}
	i.texts.Store(&interruptTexts{first: "stopping", quit: "quit at once"})
	signal.Notify(i.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer close(i.closed)
		first, ok := <-i.signals
		if !ok {
			return
		}
		texts := i.texts.Load()
		fmt.Fprintf(errOut, "osc-debug: %s: %s; press Ctrl-C again to %s\n", first, texts.first, texts.quit)
		cancel()
		if _, again := <-i.signals; again {
			if texts = i.texts.Load(); texts.second != "" {
				fmt.Fprintln(errOut, "osc-debug: "+texts.second)
			}
			os.Exit(codeInterrupted)
		}
	}()
	return ctx, i
}

// changes sets what signals print while a command changes the cluster: first is what the command does
// at the first signal, restore is the command that restores after the second.
func (i *interrupt) changes(first, restore string) {
	const quit = "quit without cleaning up"
	i.texts.Store(&interruptTexts{first, quit, quit + ". Restore with:\n  " + restore})
}

func (i *interrupt) stop() {
	signal.Stop(i.signals)
	close(i.signals)
	<-i.closed
	i.cancel()
}
