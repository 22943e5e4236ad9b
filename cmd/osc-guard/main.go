// Command osc-guard runs the guard, which ends debugging sessions that were left unfinished.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/osc-debug/osc-debug/pkg/guard"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

func main() {
	guard.LimitMemory(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := command(log).ExecuteContext(ctx); err != nil {
		log.Error("osc-guard failed", "error", err, "code", reason.CodeOf(err))
		os.Exit(1)
	}
}

// command returns the command line. It runs the guard until the command's context ends.
func command(log *slog.Logger) *cobra.Command {
	var kubeconfig string
	o := guard.Options{Log: log}
	c := &cobra.Command{Use: "osc-guard", Short: "End what debugging sessions left unfinished", Args: cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
				return err
			}
			if o.Relist < time.Second {
				return reason.New(reason.WrongUsage, "why", "--relist must be at least 1s", "command", c.CommandPath())
			}
			return guard.Serve(c.Context(), o)
		}}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "path to the kubeconfig file (default: the pod's ServiceAccount)")
	c.Flags().StringVar(&o.Home, "home", settings.Home, "namespace of the guard's settings, status and Lease")
	c.Flags().StringVar(&o.Listen, "listen", ":8080", "address to serve /metrics, /healthz and /readyz on")
	c.Flags().DurationVar(&o.Relist, "relist", 5*time.Minute, "how often to list all watched objects again, in case an event was lost")
	c.Flags().StringVar(&o.Name, "name", guard.Hostname(), "name of this replica in the Lease")
	return c
}
