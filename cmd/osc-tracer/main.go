// Command osc-tracer runs in the sidecar of a sandbox: it traces for a client that starts it over exec,
// or idles to keep the sidecar running.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
	"github.com/osc-debug/osc-debug/sidecar/capture"
	"github.com/osc-debug/osc-debug/sidecar/tracer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := &cobra.Command{Use: "osc-tracer", Short: "Trace a container of this sandbox", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newIdleCommand(), newRunCommand(), newRecordCommand(), newCaptureCommand(), newReadyCommand(), newProbeCommand(), newLoadedCommand(), newExportCommand(), newSendCommand(), newReceiveCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "osc-tracer:", err)
		os.Exit(1)
	}
}

func newIdleCommand() *cobra.Command {
	return &cobra.Command{Use: "idle", Short: "Wait for a termination signal", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) {
			tracer.MountFilesystems()
			tracer.Idle(c.Context())
		}}
}

func newRunCommand() *cobra.Command {
	var r tracer.Request
	var gadgets string
	c := &cobra.Command{Use: "run", Short: "Trace until standard input ends or stays silent for a minute", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r.Gadgets = strings.Split(gadgets, ",")
			return tracer.Run(c.Context(), r, os.Stdin, os.Stdout)
		}}
	c.Flags().StringVar(&gadgets, "gadgets", "", "comma-separated list of: "+gadget.List())
	c.Flags().StringArrayVar(&r.Filters, "filter", nil, "send only events that pass this filter: FIELD=VALUE, FIELD!=VALUE, FIELD~REGEXP, FIELD>NUMBER or FIELD<NUMBER")
	c.Flags().DurationVar(&r.SlowerThan, "slower-than", gadget.SlowCall, "how long a call takes at least to be an event of gadget slow")
	c.Flags().StringVar(&r.ContainerID, "container-id", "", "the container's runtime ID")
	c.Flags().StringVar(&r.ContainerName, "container-name", "", "the container's name in the pod")
	return c
}

func newRecordCommand() *cobra.Command {
	r := tracer.Recording{}
	var gadgets string
	var supervised bool
	c := &cobra.Command{Use: "record", Short: "Record all containers of the sandbox but this one, until a termination signal", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if supervised {
				r.Gadgets = strings.Split(gadgets, ",")
				return tracer.Record(c.Context(), r)
			}
			tracer.MountFilesystems()
			return tracer.Supervise(c.Context(), r.Dir, append(os.Args[1:], "--supervised")...)
		}}
	c.Flags().BoolVar(&supervised, "supervised", false, "record in this process")
	c.Flags().StringVar(&gadgets, "gadgets", "", "comma-separated list of: "+gadget.List())
	c.Flags().DurationVar(&r.SlowerThan, "slower-than", gadget.SlowCall, "how long a call takes at least to be an event of gadget slow")
	c.Flags().StringVar(&r.Dir, "dir", frame.RecordingDir, "folder of the recording")
	c.Flags().Int64Var(&r.Limit, "limit", frame.RecordingLimit, "largest size of the recording, in bytes; the oldest records go first")
	return c
}

func newCaptureCommand() *cobra.Command {
	var o capture.Options
	c := &cobra.Command{Use: "capture [FILTER]", Short: "Capture packets until standard input ends or stays silent for a minute", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Filter = strings.Join(args, " ")
			return tracer.Capture(c.Context(), o, os.Stdin, os.Stdout, os.Stderr)
		}}
	c.Flags().StringSliceVar(&o.Interfaces, "interface", nil, "interfaces; none: all that are up")
	c.Flags().IntVar(&o.Snaplen, "snaplen", pcapng.MaxSnaplen, "most bytes that are kept of a packet")
	return c
}

func newReadyCommand() *cobra.Command {
	var dir string
	var limit time.Duration
	c := &cobra.Command{Use: "ready", Short: "Wait until 'record' has attached its gadgets", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return tracer.WaitAttached(c.Context(), dir, limit) }}
	c.Flags().StringVar(&dir, "dir", frame.RecordingDir, "folder of the recording")
	c.Flags().DurationVar(&limit, "limit", 10*time.Second, "how long to wait")
	return c
}

func newProbeCommand() *cobra.Command {
	var output, id, name string
	c := &cobra.Command{Use: "probe", Short: "Print which gadgets work in this sandbox", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			found, err := tracer.Probe(id, name)
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(os.Stdout).Encode(found)
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintf(w, "GADGET\tSTATE\tTIER\tBECAUSE\n")
			for _, gadget := range gadget.Names() {
				s := found.Gadgets[gadget]
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", gadget, s.State, cmp.Or(s.Tier, "-"), s.Reason)
			}
			return w.Flush()
		}}
	c.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	c.Flags().StringVar(&id, "container-id", "", "also print the seccomp mode of the container with this runtime ID")
	c.Flags().StringVar(&name, "container-name", "", "the container's name in the pod")
	return c
}

func newLoadedCommand() *cobra.Command {
	return &cobra.Command{Use: "loaded", Short: "List the BPF programs and maps that are loaded in this sandbox", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return tracer.ListLoaded(os.Stdout) }}
}

func newExportCommand() *cobra.Command {
	var dir string
	var from uint64
	c := &cobra.Command{Use: "export", Short: "Write a recording as frames to standard output", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return tracer.Export(c.Context(), dir, from, os.Stdout) }}
	c.Flags().StringVar(&dir, "dir", frame.RecordingDir, "folder of the recording")
	c.Flags().Uint64Var(&from, "from", 0, "number of the first record")
	return c
}

func newSendCommand() *cobra.Command {
	var from int64
	c := &cobra.Command{Use: "send PATH", Short: "Write a file to standard output, with its size and checksum", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return tracer.Send(c.Context(), args[0], from, os.Stdout) }}
	c.Flags().Int64Var(&from, "from", 0, "offset of the first byte")
	return c
}

func newReceiveCommand() *cobra.Command {
	var f frame.File
	c := &cobra.Command{Use: "receive PATH", Short: "Write standard input to a file, if its checksum is right", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return tracer.Receive(c.Context(), args[0], f, os.Stdin) }}
	c.Flags().Int64Var(&f.Size, "size", 0, "size in bytes")
	c.Flags().StringVar(&f.Sum, "sum", "", "SHA-256 sum, in hex")
	return c
}
