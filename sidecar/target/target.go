// Package target finds the processes to trace, from inside the sidecar. The containers of a sandbox
// share PIDs and network, so it distinguishes them by their mount namespaces.
package target

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Target is a container of the sandbox, in the form in which BPF programs recognise it.
type Target struct {
	MountNS    uint32 // inode of its mount namespace; 0: all containers but the one with OwnMountNS
	OwnMountNS uint32 // inode of the tracer's own mount namespace
	NetNS      uint32 // inode of the sandbox's network namespace
	PIDNSDev   uint64 // device of the PID namespace in which PIDs are reported
	PIDNSIno   uint64 // inode of the same
	FoundBy    string // how the container was identified, for messages
}

// Find finds a container by its runtime ID (64 hex digits) and name. It tries, in this order: the cgroup
// of its processes; mounts that only this container has, from kubelet or the Kata agent; and, if there is
// only one, the mount namespace other than the sidecar's and that of process 1.
func Find(proc, containerID, name string) (*Target, error) {
	own, err := namespaceInode(filepath.Join(proc, "self/ns/mnt"))
	if err != nil {
		return nil, err
	}
	first, _ := namespaceInode(filepath.Join(proc, "1/ns/mnt"))
	byCgroup, byMounts, others := map[uint32]bool{}, map[uint32]bool{}, map[uint32]bool{}
	pids, err := listPIDs(proc)
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		ns, err := namespaceInode(filepath.Join(proc, pid, "ns/mnt"))
		if err != nil || ns == own {
			continue // ended meanwhile, or a process of the sidecar
		}
		if ns != first {
			others[ns] = true
		}
		if fileContains(filepath.Join(proc, pid, "cgroup"), containerID) {
			byCgroup[ns] = true
		}
		if fileContains(filepath.Join(proc, pid, "mountinfo"), containerID) || fileContains(filepath.Join(proc, pid, "mountinfo"), "/containers/"+name+"/") {
			byMounts[ns] = true
		}
	}
	for _, c := range []struct {
		by    string
		found map[uint32]bool
	}{{"cgroup", byCgroup}, {"mounts", byMounts}, {"the only other mount namespace", others}} {
		if len(c.found) == 1 {
			for ns := range c.found {
				return newTarget(proc, ns, c.by)
			}
		}
	}
	return nil, fmt.Errorf("cannot identify the processes of container %s (%.12s): %d other mount namespaces, %d found by cgroup, %d by mounts",
		name, containerID, len(others), len(byCgroup), len(byMounts))
}

// Seccomp returns the seccomp mode of a container's first process, as in /proc/PID/status: 0 none, 1 strict, 2 filter.
func Seccomp(proc, containerID, name string) (string, error) {
	t, err := Find(proc, containerID, name)
	if err != nil {
		return "", err
	}
	pids, err := listPIDs(proc)
	if err != nil {
		return "", err
	}
	for _, pid := range pids {
		if ns, err := namespaceInode(filepath.Join(proc, pid, "ns/mnt")); err != nil || ns != t.MountNS {
			continue
		}
		status, err := os.ReadFile(filepath.Join(proc, pid, "status"))
		if err != nil {
			continue // ended meanwhile
		}
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "Seccomp:"); ok {
				return strings.TrimSpace(value), nil
			}
		}
	}
	return "", fmt.Errorf("no process of container %s has a seccomp mode", name)
}

// All returns all processes in the sandbox's PID namespace, except those of the container in which the caller runs. They
// need not exist yet.
func All(proc string) (*Target, error) {
	t, err := newTarget(proc, 0, "being in the sandbox")
	if err != nil {
		return nil, err
	}
	t.OwnMountNS, err = namespaceInode(filepath.Join(proc, "self/ns/mnt"))
	return t, err
}

// HasMountNS says whether processes with this mount namespace, given by its inode, belong to the target.
func (t *Target) HasMountNS(inode uint32) bool {
	if t.MountNS != 0 {
		return inode == t.MountNS
	}
	return inode != t.OwnMountNS
}

func newTarget(proc string, mountNS uint32, foundBy string) (*Target, error) {
	netNS, err := namespaceInode(filepath.Join(proc, "self/ns/net"))
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "self/ns/pid"), &st); err != nil {
		return nil, fmt.Errorf("PID namespace: %w", err)
	}
	return &Target{MountNS: mountNS, NetNS: netNS, PIDNSDev: st.Dev, PIDNSIno: st.Ino, FoundBy: foundBy}, nil
}

func namespaceInode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("namespace %s: %w", path, err)
	}
	return uint32(st.Ino), nil // namespace inodes have 32 bits
}

func listPIDs(proc string) ([]string, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var pids []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, e.Name())
		}
	}
	return pids, nil
}

func fileContains(file, word string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.Contains(s.Text(), word) {
			return true
		}
	}
	return false
}
