// Package target finds the processes to trace from inside the sidecar. The containers
// of a sandbox share PIDs and network; what tells them apart is their mount namespace.
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

// Target is a container of the sandbox, as BPF programs recognise it.
type Target struct {
	MountNS  uint32 // inode of its mount namespace
	NetNS    uint32 // inode of the sandbox's network namespace
	PIDNSDev uint64 // of the PID namespace whose numbers are reported
	PIDNSIno uint64
	How      string // by what it was found
	proc     string
}

// Find looks for a container by its runtime ID (64 hex digits) and name, in this order:
// the cgroup of its processes, the mounts that kubelet or the Kata agent gave it alone,
// and, where neither shows it, the only mount namespace left besides the sidecar's own
// and that of process 1.
func Find(proc, containerID, name string) (*Target, error) {
	own, err := inode(filepath.Join(proc, "self/ns/mnt"))
	if err != nil {
		return nil, err
	}
	first, _ := inode(filepath.Join(proc, "1/ns/mnt"))
	byCgroup, byMounts, others := map[uint32]bool{}, map[uint32]bool{}, map[uint32]bool{}
	pids, err := processes(proc)
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		ns, err := inode(filepath.Join(proc, pid, "ns/mnt"))
		if err != nil || ns == own {
			continue // gone meanwhile, or one of ours
		}
		if ns != first {
			others[ns] = true
		}
		if mentions(filepath.Join(proc, pid, "cgroup"), containerID) {
			byCgroup[ns] = true
		}
		if mentions(filepath.Join(proc, pid, "mountinfo"), containerID) || mentions(filepath.Join(proc, pid, "mountinfo"), "/containers/"+name+"/") {
			byMounts[ns] = true
		}
	}
	for _, c := range []struct {
		how   string
		found map[uint32]bool
	}{{"cgroup", byCgroup}, {"mounts", byMounts}, {"the only other mount namespace", others}} {
		if len(c.found) == 1 {
			for ns := range c.found {
				return describe(proc, ns, c.how)
			}
		}
	}
	return nil, fmt.Errorf("container %s (%.12s): its processes are not told apart: %d mount namespaces besides this one, %d by cgroup, %d by mounts",
		name, containerID, len(others), len(byCgroup), len(byMounts))
}

func describe(proc string, mountNS uint32, how string) (*Target, error) {
	netNS, err := inode(filepath.Join(proc, "self/ns/net"))
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "self/ns/pid"), &st); err != nil {
		return nil, fmt.Errorf("PID namespace: %w", err)
	}
	return &Target{MountNS: mountNS, NetNS: netNS, PIDNSDev: st.Dev, PIDNSIno: st.Ino, How: how, proc: proc}, nil
}

func inode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("namespace %s: %w", path, err)
	}
	return uint32(st.Ino), nil //nolint:gosec // namespace inodes have 32 bits
}

func processes(proc string) ([]string, error) {
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

func mentions(file, word string) bool {
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
