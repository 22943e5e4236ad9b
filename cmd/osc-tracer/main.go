// Command osc-tracer runs in the sidecar of a sandbox: it traces for a client that starts it over exec,
// or idles to keep the sidecar running.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/tracer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := &cobra.Command{Use: "osc-tracer", Short: "Trace a container of this sandbox", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newIdleCommand(), newRunCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "osc-tracer:", err)
		os.Exit(1)
	}
}

func newIdleCommand() *cobra.Command {
	return &cobra.Command{Use: "idle", Short: "Wait for a termination signal", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { <-c.Context().Done() }}
}

func newRunCommand() *cobra.Command {
	var r tracer.Request
	var gadgets string
	c := &cobra.Command{Use: "run", Short: "Trace until standard input ends or stays silent for a minute", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r.Gadgets = strings.Split(gadgets, ",")
			return tracer.Run(c.Context(), r, os.Stdin, os.Stdout)
		}}
	c.Flags().StringVar(&gadgets, "gadgets", "", "comma-separated list of: "+frame.GadgetNames())
	c.Flags().StringVar(&r.ContainerID, "container-id", "", "the container's runtime ID")
	c.Flags().StringVar(&r.ContainerName, "container-name", "", "the container's name in the pod")
	return c
}
