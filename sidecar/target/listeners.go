package target

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listener is a process of the target and a TCP port on which it listens.
type Listener struct {
	Port uint16
	PID  uint32
	Comm string
}

// listenState is TCP_LISTEN in /proc/net/tcp.
const listenState = "0A"

// Listeners returns the target's processes that listen on a TCP port now, nil if /proc cannot be read.
func (t *Target) Listeners() []Listener {
	ports := map[string]uint16{} // socket inode to port
	for _, file := range []string{"self/net/tcp", "self/net/tcp6"} {
		readListeners(filepath.Join(t.proc, file), ports)
	}
	var out []Listener
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
			if port, ok := ports[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")]; ok {
				out = append(out, Listener{Port: port, PID: uint32(number), Comm: strings.TrimSpace(string(comm))})
			}
		}
	}
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
