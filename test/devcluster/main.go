// Command devcluster runs a real Kubernetes cluster on one machine, with RuntimeClass kata for a
// node in a VM, and a router that splits the traffic of Routes as OpenShift's router does. It serves
// to test osc-debug.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/test/devcluster/build"
	"github.com/osc-debug/osc-debug/test/devcluster/cluster"
	"github.com/osc-debug/osc-debug/test/devcluster/image"
	"github.com/osc-debug/osc-debug/test/devcluster/router"
	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "devcluster", Short: "A real Kubernetes cluster with a sandbox VM on one machine, for tests of osc-debug",
		SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(up(), down(), status(), stopComponent(), startComponent(), images(), supervise(), haproxy(), serveRouter(), serveRegistry())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}

func up() *cobra.Command {
	var reload time.Duration
	var early bool
	c := &cobra.Command{Use: "up", Short: "Build what is missing and start the cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cluster.Up(cmd.Context(), cmd.ErrOrStderr(), reload, early); err != nil {
				return err
			}
			return cluster.Environment(cmd.OutOrStdout())
		}}
	c.Flags().DurationVar(&reload, "reload-interval", 5*time.Second, "minimum time between two reloads of the router (OpenShift: 5s)")
	c.Flags().BoolVar(&early, "early", false, "do not wait for the sandbox node; a second 'up' waits for it")
	return c
}

func down() *cobra.Command {
	return &cobra.Command{Use: "down", Short: "Stop the cluster and clean up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := topology.NewDirs()
			if err != nil {
				return err
			}
			begin := time.Now()
			if err := cluster.Down(dirs); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "cluster stopped after %.1f s\n", time.Since(begin).Seconds())
			return nil
		}}
}

func status() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show whether the cluster is running and ready", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cluster.Status(cmd.Context(), cmd.OutOrStdout()); err != nil {
				return err
			}
			return cluster.Environment(cmd.OutOrStdout())
		}}
}

func stopComponent() *cobra.Command {
	return component("stop COMPONENT", "Kill a component of the running cluster and keep it stopped", cluster.Stop)
}

func startComponent() *cobra.Command {
	return component("start COMPONENT", "Start a stopped component again", cluster.Start)
}

func component(use, short string, do func(topology.Dirs, string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dirs, err := topology.NewDirs()
			if err != nil {
				return err
			}
			return do(dirs, args[0])
		}}
}

func images() *cobra.Command {
	var registryName string
	var full, push bool
	c := &cobra.Command{Use: "images", Short: "Build the product's images and print their references by digest", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := build.New(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return image.Publish(cmd.Context(), b, registryName, full, push, cmd.OutOrStdout())
		}}
	c.Flags().StringVar(&registryName, "registry", image.DefaultRegistry, "registry and path for the references")
	c.Flags().BoolVar(&full, "full", false, "also build the sidecar variant with bpftrace and perf")
	c.Flags().BoolVar(&push, "push", false, "push the images")
	return c
}

func haproxy() *cobra.Command {
	return &cobra.Command{Use: "haproxy", Short: "Build HAProxy 3.0, which the dynamic configuration manager needs, and print its path", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := build.New(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			path, err := b.HAProxy(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return nil
		}}
}

func supervise() *cobra.Command {
	var spec cluster.Spec
	c := &cobra.Command{Use: "supervise", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var err error
			if spec.Dirs, err = topology.NewDirs(); err != nil {
				return err
			}
			return cluster.Supervise(spec)
		}}
	f := c.Flags()
	f.StringVar(&spec.Kube, "kube", "", "")
	f.StringVar(&spec.Runtime, "runtime", "", "")
	f.StringVar(&spec.Guest.Kernel, "guest-kernel", "", "")
	f.StringVar(&spec.Guest.Disk, "guest-disk", "", "")
	f.StringVar(&spec.Accel, "accel", "tcg", "")
	f.StringVar(&spec.ReloadInterval, "reload-interval", "5s", "")
	return c
}

func serveRouter() *cobra.Command {
	var o router.Options
	c := &cobra.Command{Use: "router", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return router.Run(cmd.Context(), o) }}
	f := c.Flags()
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "")
	f.StringVar(&o.Name, "name", "default", "")
	f.StringVar(&o.Namespace, "namespace", "", "")
	f.StringVar(&o.HAProxy, "haproxy", "haproxy", "")
	f.BoolVar(&o.Dynamic, "dynamic", false, "")
	f.StringVar(&o.Dir, "dir", "", "")
	f.StringVar(&o.Address, "address", "", "")
	f.StringVar(&o.Certificate, "certificate", "", "")
	f.StringVar(&o.Key, "key", "", "")
	f.DurationVar(&o.ReloadInterval, "reload-interval", 5*time.Second, "")
	return c
}

func serveRegistry() *cobra.Command {
	return &cobra.Command{Use: "registry", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server := &http.Server{Addr: ":" + topology.RegistryPort, ReadHeaderTimeout: 10 * time.Second,
				Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
			context.AfterFunc(cmd.Context(), func() { server.Close() })
			return server.ListenAndServe()
		}}
}
