package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// How long the local cluster may take to start and to stop.
const (
	warmUp   = 45 * time.Second
	takeDown = 15 * time.Second
	coldUp   = 12 * time.Minute
)

// cluster measures how long the local cluster takes to start, with everything built, and to stop.
// The cluster runs afterwards, for the other measurements.
func (b *bench) cluster() error {
	if err := b.devcluster(nil, "down"); err != nil {
		return err
	}
	before, err := machineState()
	if err != nil {
		return err
	}
	for n := 1; n <= 3; n++ {
		up, err := timed(func() error { return b.devcluster(nil, "up") })
		if err != nil {
			return err
		}
		b.judge(fmt.Sprintf("cluster-up, warm (%d of 3)", n), up <= warmUp, fmt.Sprintf("%.1f s", up.Seconds()), "<= 45 s")
		var left []string
		down, err := timed(func() error {
			if err := b.devcluster(nil, "down"); err != nil {
				return err
			}
			left, err = waitForLeftovers(before, takeDown)
			return err
		})
		if err != nil {
			return err
		}
		b.judge("cluster-down until no process, mount, link, namespace, cgroup is left", down <= takeDown && len(left) == 0,
			strings.Join(append(left, fmt.Sprintf("%.1f s", down.Seconds())), " "), "<= 15 s")
	}
	return b.devcluster(nil, "up")
}

// cold measures how long a start takes with empty caches: it builds everything in a new folder.
func (b *bench) cold() error {
	if err := b.devcluster(nil, "down"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "osc-debug-cold-")
	if err != nil {
		return err
	}
	env := []string{
		"OSC_DEBUG_CACHE=" + filepath.Join(dir, "cache"), "GOCACHE=" + filepath.Join(dir, "build"),
		"GOMODCACHE=" + filepath.Join(dir, "modules"), "GOFLAGS=-modcacherw",
	}
	up, err := timed(func() error { return b.devcluster(env, "up") })
	err = errors.Join(err, b.devcluster(env, "down"), os.RemoveAll(dir))
	if err != nil {
		return err
	}
	b.judge("cluster-up, nothing built, no modules downloaded", up <= coldUp, fmt.Sprintf("%.1f min", up.Minutes()), "<= 12 min")
	return nil
}

// timed runs a function and returns how long it took.
func timed(run func() error) (time.Duration, error) {
	begin := time.Now()
	err := run()
	return time.Since(begin), err
}

// devcluster runs the development cluster's command with additional environment variables.
func (b *bench) devcluster(env []string, args ...string) error {
	cmd := exec.CommandContext(context.WithoutCancel(b.ctx), filepath.Join(filepath.Dir(b.CLI), "devcluster"), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("devcluster %s: %w: %s", args, err, out)
	}
	return nil
}

// machineState lists what a cluster could leave behind on this machine: processes, namespaces,
// mounts, network links, cgroups.
func machineState() (map[string]bool, error) {
	found := map[string]bool{}
	executables, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil, err
	}
	for _, link := range executables {
		pid := strings.Split(link, "/")[2]
		if program, err := os.Readlink(link); err == nil {
			found["process:"+pid+":"+filepath.Base(program)] = true
		}
		for _, kind := range []string{"net", "mnt", "pid"} {
			if ns, err := os.Readlink("/proc/" + pid + "/ns/" + kind); err == nil {
				found["namespace:"+ns] = true
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		found["mount:"+strings.Fields(line)[1]] = true
	}
	for kind, pattern := range map[string]string{"link": "/sys/class/net/*", "cgroup": "/sys/fs/cgroup/*/*", "cgroup2": "/sys/fs/cgroup/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			found[kind+":"+p] = true
		}
	}
	return found, nil
}

// waitForLeftovers waits until nothing is left that was not there before, and returns what is left
// after wait. Of processes it counts only those that run a program of the cluster, because others
// come and go.
func waitForLeftovers(before map[string]bool, wait time.Duration) ([]string, error) {
	for end := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		now, err := machineState()
		if err != nil {
			return nil, err
		}
		var left []string
		for what := range now {
			if !before[what] && (!strings.HasPrefix(what, "process:") || isClusterProgram(what)) {
				left = append(left, what)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return left, nil
		}
	}
}

// isClusterProgram says whether a process of machineState runs a program of the cluster.
func isClusterProgram(process string) bool {
	for _, name := range []string{"kube", "etcd", "containerd", "containerd-shim-runc-v2", "runc", "haproxy", "qemu-system-x86_64", "devcluster", "pause", "http-echo"} {
		if strings.HasSuffix(process, ":"+name) {
			return true
		}
	}
	return false
}
