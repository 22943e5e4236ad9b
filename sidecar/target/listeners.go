package target

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Listener is a process of the target and a TCP port on which it listens.
type Listener struct {
	Port    uint16
	PID     uint32
	Comm    string
	Sockets uint32 // of the target that listen on the port: several with SO_REUSEPORT
}

// listenState is TCP_LISTEN in /proc/net/tcp.
const listenState = "0A"

// Listeners returns the TCP ports on which the target listens now, each with one of the processes, nil if /proc
// cannot be read.
func (t *Target) Listeners() []Listener {
	ports := map[string]uint16{} // socket inode to port
	for _, file := range []string{"self/net/tcp", "self/net/tcp6"} {
		readListeners(filepath.Join(t.proc, file), ports)
	}
	found, counted := map[uint16]*Listener{}, map[string]bool{}
	pids, err := listPIDs(t.proc)
	if err != nil {
		return nil
	}
	for _, pid := range pids {
		if ns, err := namespaceInode(filepath.Join(t.proc, pid, "ns/mnt")); err != nil || ns != t.MountNS {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(t.proc, pid, "comm"))
		number, _ := strconv.ParseUint(pid, 10, 32)
		fds, err := filepath.Glob(filepath.Join(t.proc, pid, "fd/*"))
		if err != nil {
			continue
		}
		for _, fd := range fds {
			link, err := os.Readlink(fd)
			if err != nil {
				continue
			}
			inode := strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")
			port, ok := ports[inode]
			if !ok {
				continue
			}
			l := found[port]
			if l == nil {
				l = &Listener{Port: port, PID: uint32(number), Comm: strings.TrimSpace(string(comm))}
				found[port] = l
			}
			if !counted[inode] { // processes that were forked share the socket
				counted[inode] = true
				l.Sockets++
			}
		}
	}
	var out []Listener
	for _, l := range found {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b Listener) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

// readListeners adds the listening sockets in a table of /proc/net to ports, by inode. Field 1 is
// address:port in hex, field 3 the state, field 9 the inode.
func readListeners(file string, ports map[string]uint16) {
	f, err := os.Open(file)
	if err != nil {
		return // such as tcp6 without IPv6
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 10 || fields[3] != listenState {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		var port uint16
		if _, err := fmt.Sscanf(hex, "%X", &port); err == nil {
			ports[fields[9]] = port
		}
	}
}
