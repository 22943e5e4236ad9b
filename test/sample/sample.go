// Package sample deploys the example application on the local cluster, for the demo and the
// benchmarks.
package sample

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/load"
)

// The example's namespace, the host of its Route, and the router's address.
const (
	Namespace = "sample"
	Host      = "echo-route-sample.apps.osc-debug.test"
	Router    = "10.87.0.2"
)

// Cluster names the running local cluster and the built command.
type Cluster struct {
	State string // the cluster's folder
	CLI   string // path of osc-debug
}

// FromEnvironment reads the Cluster from the variables that the Makefile sets.
func FromEnvironment() (Cluster, error) {
	c := Cluster{os.Getenv("OSC_DEBUG_CLUSTER"), os.Getenv("OSC_DEBUG")}
	if c.State == "" || c.CLI == "" {
		return c, fmt.Errorf("run this through its make target, which starts the cluster and builds the command")
	}
	return c, nil
}

// Kubectl runs kubectl as the administrator in the checkout's top folder, and returns its output.
func (c Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	out, err := c.kubectl(ctx, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c Cluster) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.State, "kubectl"), args...)
	cmd.Dir = root()
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(c.State, "admin.conf"))
	return cmd
}

// root returns the checkout's top folder, which it looks for from the working directory upwards.
func root() string {
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "manifests", "embed.go")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return "."
}

// Command prepares osc-debug to run as the ordinary user alice in the example's namespace.
func (c Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.CLI, append([]string{"-n", Namespace}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(c.State, "alice.conf"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// Deploy deploys the example in a new namespace in which alice has role edit, and waits until the
// Route answers. It returns the body of a response.
func (c Cluster) Deploy(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		{"delete", "namespace", Namespace, "--ignore-not-found", "--wait"},
		{"create", "namespace", Namespace},
		{"create", "rolebinding", "alice", "-n", Namespace, "--clusterrole=edit", "--user=alice"},
		{"apply", "-f", "examples/http-echo/manifests/echo.yaml"},
		{"wait", "-n", Namespace, "--for=condition=Available", "deployment/echo-runc", "--timeout=90s"},
	} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return "", err
		}
	}
	for range 60 {
		config := Load(4)
		once := load.Start(config)
		time.Sleep(500 * time.Millisecond)
		if s := once.Stop(); s.OK > 0 && s.Failed == 0 {
			for body := range s.Bodies {
				return body, nil
			}
		}
	}
	return "", fmt.Errorf("the Route does not answer")
}

// Load configures a load on the example's Route over TLS, in requests per second.
func Load(rate int) load.Config {
	return load.Config{
		Address: Router + ":443", Host: Host, Path: "/", TLS: true, Rate: rate,
		Right: func(status int, body string) bool { return status == 200 && strings.HasPrefix(body, "hello pod=") },
	}
}

// Reloads returns the number of the router's reloads since it started.
func (c Cluster) Reloads() int {
	log, err := os.ReadFile(filepath.Join(c.State, "log", "router.log"))
	if err != nil {
		return 0
	}
	return strings.Count(string(log), "INFO reloaded")
}
