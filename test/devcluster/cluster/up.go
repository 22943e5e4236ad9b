// Package cluster starts and stops the development cluster and shows its state.
package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/devcluster/build"
	"github.com/osc-debug/osc-debug/test/devcluster/image"
	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// progress prints the current step and how long each step took.
type progress struct {
	w     io.Writer
	begin time.Time
	last  time.Time
	what  string
}

func newProgress(w io.Writer) *progress { return &progress{w: w, begin: time.Now()} }

func (p *progress) step(what string) {
	p.end()
	p.what, p.last = what, time.Now()
	fmt.Fprintf(p.w, "==> %s\n", what)
}

func (p *progress) end() {
	if p.what != "" {
		fmt.Fprintf(p.w, "    %.1f s\n", time.Since(p.last).Seconds())
	}
	p.what = ""
}

// Up builds what is not built yet, starts a cluster unless one is running, and returns when both
// nodes are ready, the router serves and the images can be pulled. If early is set, it does not wait
// for the sandbox node; a second Up does.
func Up(ctx context.Context, log io.Writer, reloadInterval time.Duration, early bool) error {
	dirs, err := topology.NewDirs()
	if err != nil {
		return err
	}
	if err := checkPlace(dirs); err != nil {
		return err
	}
	builder, err := build.New(log)
	if err != nil {
		return err
	}
	p := newProgress(log)
	defer p.end()
	p.step("Debian packages")
	if err := build.EnsurePackages(ctx, log); err != nil {
		return err
	}
	p.step("parts")
	spec := Spec{Dirs: dirs, ReloadInterval: reloadInterval.String()}
	if spec.Kube, err = builder.Kube(ctx); err != nil {
		return err
	}
	if spec.Runtime, err = builder.Runtime(ctx); err != nil {
		return err
	}
	if spec.Guest, err = builder.Guest(ctx); err != nil {
		return err
	}
	spec.Accel = Accelerator(ctx, dirs.Cache, spec.Guest)
	if supervisorPID(dirs) == 0 {
		p.step("leftovers of an earlier run")
		if err := Down(dirs); err != nil {
			return err
		}
		p.step("processes (guest under " + spec.Accel + ")")
		if err := spec.launch(ctx); err != nil {
			return err
		}
	}
	p.step("images")
	if err := image.BuildAll(ctx, builder, log); err != nil {
		return err
	}
	p.step("API server")
	if err := spec.waitAPI(ctx); err != nil {
		return err
	}
	p.step("Routes, RuntimeClass kata, roles")
	if err := applyBase(ctx, dirs, builder.Source); err != nil {
		return err
	}
	if err := prepull(ctx, dirs); err != nil {
		return err
	}
	p.step("nodes and router")
	if err := spec.waitReady(ctx, early); err != nil {
		return err
	}
	p.end()
	fmt.Fprintf(log, "cluster is ready after %.1f s\n", time.Since(p.begin).Seconds())
	return nil
}

// launch starts the supervisor and cleans up if that fails.
func (spec Spec) launch(ctx context.Context) error {
	if err := os.MkdirAll(spec.Dirs.In("log"), 0o755); err != nil {
		return err
	}
	err := spec.configure()
	if err == nil {
		err = makeCgroups()
	}
	if err == nil {
		err = spec.spawn(ctx)
	}
	if err != nil {
		if downErr := Down(spec.Dirs); downErr != nil {
			return fmt.Errorf("%w (cleanup failed too: %v)", err, downErr)
		}
	}
	return err
}

// checkPlace returns an error if the cache is below a folder that the cluster mounts over.
func checkPlace(d topology.Dirs) error {
	for _, hidden := range []string{"/var/", "/run/", "/proc/"} {
		if strings.HasPrefix(d.Cache+"/", hidden) {
			return fmt.Errorf("the cache must not be below %s, which the cluster mounts over; set OSC_DEBUG_CACHE to another folder", hidden)
		}
	}
	return nil
}

// Environment prints the shell line that makes kubectl and osc-debug use the cluster, and a comment
// with the router's address and the kubeconfigs of ordinary users.
func Environment(w io.Writer) error {
	dirs, err := topology.NewDirs()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "export KUBECONFIG=%s\n", dirs.In("admin.conf"))
	fmt.Fprintf(w, "# router: %s (ports 80 and 443); ordinary users: %s, %s\n", topology.ClusterIP, dirs.In("alice.conf"), dirs.In("bob.conf"))
	return nil
}

// tail returns the end of a component's log for an error message.
func tail(d topology.Dirs, name string) string {
	out, err := exec.Command("tail", "-n", "5", d.Log(name)).Output()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("\nlast lines of %s:\n%s", d.Log(name), out)
}
