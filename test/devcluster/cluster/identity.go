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

// The supervisor is known by PID and start time, so a PID that another process got
// since is never mistaken for it.

func writeIdentity(d topology.Dirs, pid int) error {
	started, err := startTime(pid)
	if err != nil {
		return err
	}
	return os.WriteFile(d.In("supervisor"), fmt.Appendf(nil, "%d %s\n", pid, started), 0o644)
}

// supervisorPID returns the PID of the running supervisor, 0 when there is none.
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

// startTime is field 22 of /proc/PID/stat, in clock ticks since boot.
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

// Down ends the cluster, running or left by a killed run, and removes what it left.
// Built parts stay in the cache.
func Down(d topology.Dirs) error {
	if pid := supervisorPID(d); pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("end the cluster: %w", err)
		}
		for range 300 {
			if supervisorPID(d) == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if supervisorPID(d) != 0 {
			return fmt.Errorf("end the cluster: process %d is still there after 15 s", pid)
		}
	}
	// The cluster's end of the pair goes with its namespace and takes this one along;
	// the kernel does that a little later, so ask for it.
	if _, err := os.Stat("/sys/class/net/" + topology.HostLink); err == nil {
		_ = exec.Command("ip", "link", "del", topology.HostLink).Run()
	}
	return errors.Join(removeCgroups(), os.RemoveAll(d.State))
}

// removeCgroups removes the runc node's cgroups, in every hierarchy of version 1 or in
// the one of version 2, from the leaves up.
func removeCgroups() error {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + topology.CgroupRoot)
	roots = append(roots, "/sys/fs/cgroup/"+topology.CgroupRoot)
	var last error
	for _, root := range roots {
		for range 40 {
			if last = removeTree(root); last == nil {
				break
			}
			time.Sleep(50 * time.Millisecond) // processes leave their cgroup a moment after they died
		}
		if last != nil {
			return last
		}
	}
	return nil
}

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

// makeCgroups makes the parent of the runc node's pods.
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
			// A child of a cpuset takes no process until it is told its CPUs and memory.
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
