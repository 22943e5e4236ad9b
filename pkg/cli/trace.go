package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/trace"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

type traceFlags struct {
	route, session, container string
	duration, slowerThan      time.Duration
	filters, fields           []string
	output, file              string
	top, failOnLoss           bool
	rows                      int
}

func (a *app) traceCommand() *cobra.Command {
	f := &traceFlags{}
	c := &cobra.Command{
		Use:   "trace GADGET[,GADGET...]",
		Short: "Trace the program in a session's sandbox",
		Long: `Trace the program in the sandbox of a live or held session, in the VM's own kernel, until
Ctrl-C or for the time of --for. The gadgets:

` + gadgetHelp() + `
Events are printed as they happen: as columns on a terminal, and otherwise as JSON, one event a
line. At the end, standard error gets a summary and, for each gadget, a ledger: how many events
the kernel saw, and where each of them went.`,
		Example: `  osc-debug trace open,exec
  osc-debug trace tcp --for 30s -o json --write tcp.jsonl
  osc-debug trace open --filter 'path~^/etc/' --filter error=ENOENT --fields pid,path,took
  osc-debug trace open,tcp --top`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeGadgets,
		RunE:              func(c *cobra.Command, args []string) error { return a.runTrace(c, f, strings.Split(args[0], ",")) },
	}
	fl := c.Flags()
	fl.StringVar(&f.route, "route", "", "Route of the session")
	fl.StringVarP(&f.session, "session", "s", "", "ID of the session")
	fl.StringVarP(&f.container, "container", "c", "", "container to trace (default: the program that the Route leads to)")
	fl.DurationVar(&f.duration, "for", 0, "how long to trace (default: until Ctrl-C)")
	fl.DurationVar(&f.slowerThan, "slower-than", gadget.SlowCall, "how long a call takes at least to be an event of gadget slow; 0s for all calls")
	fl.StringArrayVar(&f.filters, "filter", nil, "print only events that pass: FIELD=VALUE, FIELD!=VALUE, FIELD~REGEXP, FIELD>NUMBER or FIELD<NUMBER; several must all pass")
	fl.StringSliceVar(&f.fields, "fields", nil, "fields to print as columns, such as pid,path,took")
	fl.StringVarP(&f.output, "output", "o", "", "columns, json or jsonl; the last two are one event a line (default: columns on a terminal, otherwise json)")
	fl.StringVar(&f.file, "write", "", "write the events to a file instead of standard output")
	fl.BoolVar(&f.top, "top", false, "show the most frequent events as a table that is redrawn, instead of each event")
	fl.BoolVar(&f.failOnLoss, "fail-on-loss", false, "exit with 1 if an event was lost")
	fl.IntVar(&f.rows, "rows", 10, "rows of each gadget in a table")
	a.completions(c)
	return c
}

// gadgetHelp lists the gadgets for a help text.
func gadgetHelp() string {
	var out strings.Builder
	for _, g := range gadget.All() {
		fmt.Fprintf(&out, "  %-8s %s\n", g.Name, g.Help)
	}
	return out.String()
}

// completeGadgets completes a list of gadgets, separated by commas.
func completeGadgets(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	done := prefix[:strings.LastIndex(prefix, ",")+1]
	var out []string
	for _, g := range gadget.All() {
		if !slices.Contains(strings.Split(done, ","), g.Name) {
			out = append(out, done+g.Name+"\t"+g.Help)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// check returns what is wrong with the flags.
func (f *traceFlags) check(names []string) error {
	gadgets, err := gadget.Lookup(names)
	if err != nil {
		return err
	}
	if _, err := gadget.ParseFilters(f.filters, gadgets); err != nil {
		return err
	}
	if err := gadget.CheckFields(gadgets, f.fields); err != nil {
		return fmt.Errorf("--fields: %w", err)
	}
	switch {
	case f.duration < 0:
		return errors.New("--for must not be negative")
	case f.slowerThan < 0:
		return errors.New("--slower-than must not be negative")
	case f.slowerThan != gadget.SlowCall && !slices.Contains(names, "slow"):
		return errors.New("--slower-than is for gadget slow")
	case f.top && (f.file != "" || f.output != "" || f.fields != nil):
		return errors.New("--top prints a table: it cannot be combined with --write, --output or --fields")
	case f.rows < 1 || f.rows > 1000:
		return errors.New("--rows must be from 1 to 1000")
	}
	return nil
}

func (a *app) runTrace(c *cobra.Command, f *traceFlags, names []string) error {
	if err := f.check(names); err != nil {
		return usage(c, err)
	}
	clients, err := a.clients()
	if err != nil {
		return err
	}
	target, err := clients.running(c.Context(), f.route, f.session, f.container)
	if err != nil {
		return err
	}
	out, closeOut, err := openOutput(f.file, a.raw.Out)
	if err != nil {
		return err
	}
	summary := &trace.Summary{}
	if !f.top {
		if summary.Next, err = trace.NewPrinter(out, f.output, f.file == "" && isTerminal(a.raw.Out), f.fields); err != nil {
			return usage(c, errors.Join(err, closeOut()))
		}
	}
	ctx := c.Context()
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	report := a.report()
	request := traceRequest(target, names)
	request.Filters, request.SlowerThan = f.filters, f.slowerThan
	run := func(ctx context.Context) (map[string]trace.Ledgers, error) {
		return trace.Run(ctx, exec.Client{Config: clients.config, Core: clients.Core}, request, summary, report.Note)
	}
	var ledgers map[string]trace.Ledgers
	if f.top {
		ledgers, err = a.traceTop(ctx, summary, f.rows, run)
	} else {
		ledgers, err = run(ctx)
	}
	if closed := closeOut(); err == nil {
		err = closed
	}
	if !f.top {
		err = errors.Join(err, summary.Write(a.ErrOut, f.rows))
	}
	lost := false
	for _, pod := range slices.Sorted(maps.Keys(ledgers)) {
		report.Note("%s: %s", pod, ledgers[pod])
		lost = lost || ledgers[pod].Lost()
	}
	if err == nil && lost && f.failOnLoss {
		return reason.New(reason.EventsLost)
	}
	return err
}

// openOutput returns where to write, and how to close it: a file, or out if the file's name is empty or -.
func openOutput(name string, out io.Writer) (io.Writer, func() error, error) {
	if name == "" || name == "-" {
		return out, func() error { return nil }, nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return file, file.Close, nil
}

// traceTop traces and draws the summary over what the terminal showed before, once a second. Where the output is no
// terminal, it prints the table once, at the end.
func (a *app) traceTop(ctx context.Context, s *trace.Summary, rows int, run func(context.Context) (map[string]trace.Ledgers, error)) (map[string]trace.Ledgers, error) {
	redraws := isTerminal(a.raw.Out) && os.Getenv("TERM") != "dumb"
	var drawing sync.WaitGroup
	drawn, stop := context.WithCancel(ctx)
	if redraws {
		drawing.Go(func() {
			ticker := time.NewTicker(redrawEvery)
			defer ticker.Stop()
			for {
				select {
				case <-drawn.Done():
					return
				case <-ticker.C:
					fmt.Fprint(a.raw.Out, home)
					fmt.Fprintf(a.Out, "%s, Ctrl-C to stop\n\n", clockTime(time.Now()))
					_ = s.Write(a.Out, rows) // to a terminal
				}
			}
		})
	}
	ledgers, err := run(ctx)
	stop()
	drawing.Wait()
	if redraws {
		fmt.Fprint(a.raw.Out, home)
	}
	return ledgers, errors.Join(err, s.Write(a.Out, rows))
}
