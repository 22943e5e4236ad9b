// Package cluster starts, shows and ends the development cluster.
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

// progress prints what is being done and how long the last step took.
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

// Up builds what is not built yet, starts a cluster unless one runs, and returns when
// both nodes are Ready, the router serves and the images can be pulled. early does not
// wait for the sandbox node: a second Up does.
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
	fmt.Fprintf(log, "cluster is up after %.1f s\n", time.Since(p.begin).Seconds())
	return nil
}

// launch starts the supervisor; when that fails nothing of it stays.
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
			return fmt.Errorf("%w (and cleaning up: %v)", err, downErr)
		}
	}
	return err
}

// checkPlace refuses a cache below the folders that the cluster mounts its own over.
func checkPlace(d topology.Dirs) error {
	for _, hidden := range []string{"/var/", "/run/", "/proc/"} {
		if strings.HasPrefix(d.Cache+"/", hidden) {
			return fmt.Errorf("the cache may not lie below %s, which the cluster mounts over: set OSC_DEBUG_CACHE", hidden)
		}
	}
	return nil
}

// Environment prints the shell line that makes kubectl and osc-debug use the cluster,
// and the router's address.
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
