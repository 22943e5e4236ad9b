package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// writeIdentity records the supervisor's PID and start time. The start time shows whether another
// process has got the PID since.
func writeIdentity(d topology.Dirs, pid int) error {
	started, err := startTime(pid)
	if err != nil {
		return err
	}
	return os.WriteFile(d.In("supervisor"), fmt.Appendf(nil, "%d %s\n", pid, started), 0o644)
}

// supervisorPID returns the PID of the running supervisor, 0 if there is none.
func supervisorPID(d topology.Dirs) int {
	data, err := os.ReadFile(d.In("supervisor"))
	if err != nil {
		return 0
	}
	var pid int
	var started string
	if _, err := fmt.Sscan(string(data), &pid, &started); err != nil {
		return 0
	}
	if now, err := startTime(pid); err != nil || now != started {
		return 0
	}
	return pid
}

// startTime returns field 22 of /proc/PID/stat: the process's start in clock ticks since boot.
func startTime(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fs.ErrNotExist
	}
	return fields[19], nil
}

// Down stops a running cluster and removes what it, or an earlier killed run, left behind. Built
// parts stay in the cache.
func Down(d topology.Dirs) error {
	if pid := supervisorPID(d); pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("stop the cluster: %w", err)
		}
		for range 300 {
			if supervisorPID(d) == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if supervisorPID(d) != 0 {
			return fmt.Errorf("stop the cluster: process %d still exists after 15 s", pid)
		}
	}
	// The kernel removes both ends of the veth pair some time after the cluster's namespace has ended;
	// remove this end now.
	if _, err := os.Stat("/sys/class/net/" + topology.HostLink); err == nil {
		_ = exec.Command("ip", "link", "del", topology.HostLink).Run()
	}
	return errors.Join(removeCgroups(), os.RemoveAll(d.State))
}

// removeCgroups removes the runc node's cgroups, in all hierarchies of cgroup version 1 or in the one
// of version 2.
func removeCgroups() error {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + topology.CgroupRoot)
	roots = append(roots, "/sys/fs/cgroup/"+topology.CgroupRoot)
	var last error
	for _, root := range roots {
		for range 40 {
			if last = removeTree(root); last == nil {
				break
			}
			time.Sleep(50 * time.Millisecond) // processes leave their cgroup shortly after they have died
		}
		if last != nil {
			return last
		}
	}
	return nil
}

// removeTree removes a cgroup and those below it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(dir)
}

// makeCgroups creates the parent cgroup of the runc node's pods.
func makeCgroups() error {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return os.MkdirAll("/sys/fs/cgroup/"+topology.CgroupRoot, 0o755)
	}
	hierarchies, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if !h.IsDir() {
			continue
		}
		dir := filepath.Join("/sys/fs/cgroup", h.Name(), topology.CgroupRoot)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if h.Name() == "cpuset" {
			// A child cpuset accepts no process before its CPUs and memory nodes are set.
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				all, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuset", f))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, f), all, 0o644)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
