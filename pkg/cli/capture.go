package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/terminal"
	"github.com/osc-debug/osc-debug/pkg/trace"
	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
)

type captureFlags struct {
	route, session string
	interfaces     []string
	snaplen        int
	duration       time.Duration
	file           string
	failOnLoss     bool
}

func (a *app) captureCommand() *cobra.Command {
	f := &captureFlags{}
	c := &cobra.Command{
		Use:   "capture [FILTER]",
		Short: "Capture the packets of a session's sandbox",
		Long: `Capture the packets that a session's first sandbox pod sends and receives, at its network
interfaces and its loopback, until Ctrl-C or for the time of --for. The output is in the pcapng
format, which Wireshark reads, also while the capture runs. The filter is in tcpdump's language.

At the end, standard error says how many packets passed the filter, and how many of them the
kernel dropped because they came faster than they could be written.`,
		Example: `  osc-debug capture 'tcp port 8080' --for 30s --write http.pcapng
  osc-debug capture | wireshark -k -i -
  osc-debug capture --snaplen 96 'host 10.1.2.3' | tshark -r -`,
		RunE: func(c *cobra.Command, args []string) error { return a.runCapture(c, f, strings.Join(args, " ")) },
	}
	fl := c.Flags()
	fl.StringVar(&f.route, "route", "", "Route of the session")
	fl.StringVarP(&f.session, "session", "s", "", "ID of the session")
	fl.StringSliceVarP(&f.interfaces, "interface", "i", nil, "interfaces, such as eth0 (default: all that are up)")
	fl.IntVar(&f.snaplen, "snaplen", pcapng.MaxSnaplen, "most bytes that are kept of a packet")
	fl.DurationVar(&f.duration, "for", 0, "how long to capture (default: until Ctrl-C)")
	fl.StringVar(&f.file, "write", "-", "file to write to, - for standard output")
	fl.BoolVar(&f.failOnLoss, "fail-on-loss", false, "exit with 1 if a packet was dropped")
	a.completions(c)
	return c
}

// check returns what is wrong with the flags.
func (f *captureFlags) check(toTerminal bool) error {
	switch {
	case f.duration < 0:
		return errors.New("--for must not be negative")
	case f.snaplen < 1 || f.snaplen > pcapng.MaxSnaplen:
		return fmt.Errorf("--snaplen must be from 1 to %d", pcapng.MaxSnaplen)
	case f.file == "-" && toTerminal:
		return errors.New("packets are not for a terminal: use --write FILE, or a pipe such as '| wireshark -k -i -'")
	}
	return nil
}

func (a *app) runCapture(c *cobra.Command, f *captureFlags, filter string) error {
	if err := f.check(isTerminal(a.raw.Out)); err != nil {
		return usage(c, err)
	}
	clients, err := a.clients()
	if err != nil {
		return err
	}
	target, err := clients.running(c.Context(), f.route, f.session, "")
	if err != nil {
		return err
	}
	out, closeOut, err := openOutput(f.file, a.raw.Out)
	if err != nil {
		return err
	}
	ctx := c.Context()
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	report := a.report()
	pod := record.PodName(target.Session, 0)
	counted, err := trace.Capture(ctx, exec.Client{Config: clients.config, Core: clients.Core}, trace.CaptureRequest{
		Namespace: target.Namespace, Pod: pod, Interfaces: f.interfaces, Snaplen: f.snaplen, Filter: filter,
	}, out, report.Note)
	err = errors.Join(err, closeOut())
	lost := false
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		s := counted[name]
		report.Note("%s: %d packets at %s = %d captured + %d dropped by the kernel", pod, s.Received, terminal.Line(name), s.Delivered, s.Dropped)
		lost = lost || s.Received != s.Delivered
	}
	if err == nil && lost && f.failOnLoss {
		return reason.New(reason.PacketsDropped)
	}
	return err
}
