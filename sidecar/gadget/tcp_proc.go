package gadget

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/sidecar/target"
)

// tcpByProc is the tier of gadget tcp for kernels that allow no tracing: it reads the kernel's lists of connections again
// and again, and compares.
var tcpByProc = polledTier{
	name:  "/proc, read every " + polledEvery.String(),
	lacks: "does not see connections shorter than that, failed connects, bytes, resets, and retransmissions",
	start: func(t *target.Target) (poll, error) {
		p := &tcpPoller{proc: "/proc", target: t, known: map[socketKey]*polledConnection{}}
		_, err := p.poll() // connections that are open already are no events
		return p.poll, err
	},
}

// tcpPoller compares the kernel's list of connections with what it was.
type tcpPoller struct {
	proc   string
	target *target.Target
	known  map[socketKey]*polledConnection
	began  bool
}

// socketKey identifies a connection in the kernel's lists. An inode is used again when its socket is gone.
type socketKey struct {
	inode         uint64
	local, remote string // as in the list
}

// polledConnection is a connection.
type polledConnection struct {
	ofTarget bool // it is an event: it belongs to the target, and was not open before
	record   tcpTcpEvent
	since    uint64 // ns, monotonic
	absent   uint64 // since when it is not in the list, 0: it is
}

// States in the kernel's lists (include/net/tcp_states.h) that matter here.
const (
	stateEstablished = 0x01
	stateFinWait1    = 0x04 // the program has ended its half, and may still receive
	stateFinWait2    = 0x05
	stateCloseWait   = 0x08
	stateListen      = 0x0a
)

// listedSocket is a line of the kernel's lists.
type listedSocket struct {
	key    socketKey
	family uint16
	state  uint64
}

// poll returns a record for each connection that was established or closed since the last call. missed counts those whose
// process is not found any more.
func (p *tcpPoller) poll() (out polled, err error) {
	var sockets []listedSocket
	for _, l := range []struct {
		file   string
		family uint16
	}{{"tcp", unix.AF_INET}, {"tcp6", unix.AF_INET6}} {
		read, err := readSockets(filepath.Join(p.proc, "self/net", l.file), l.family)
		if err != nil && !(l.family == unix.AF_INET6 && os.IsNotExist(err)) { // a kernel without IPv6
			return out, err
		}
		sockets = append(sockets, read...)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return out, err
	}
	now := uint64(ts.Nano())
	listening, open := map[uint16]bool{}, map[socketKey]bool{}
	var fresh []listedSocket
	for _, s := range sockets {
		switch s.state {
		case stateListen:
			if _, port, err := parseAddress(s.key.local); err == nil {
				listening[port] = true
			}
		case stateEstablished, stateFinWait1, stateFinWait2, stateCloseWait:
			open[s.key] = true
			if _, ok := p.known[s.key]; !ok {
				fresh = append(fresh, s)
			}
		}
	}
	var owners map[uint64]uint32
	if len(fresh) > 0 && p.began {
		owners = p.owners()
	}
	for _, s := range fresh {
		c := p.connection(s, owners[s.key.inode], listening, now)
		p.known[s.key] = c
		switch {
		case c.ofTarget:
			out.records = append(out.records, rawOf(c.record))
		case p.began && owners[s.key.inode] == 0:
			out.missed++
		}
	}
	for key, c := range p.known {
		switch {
		case open[key]:
			c.absent = 0
			continue
		case c.absent == 0:
			c.absent = now // the kernel may skip a line while the list changes
			continue
		}
		delete(p.known, key)
		if c.ofTarget {
			c.record.Op, c.record.Time, c.record.Took = opClose, c.absent, c.absent-c.since
			out.records = append(out.records, rawOf(c.record))
		}
	}
	p.began = true
	return out, nil
}

// notTarget is the owner of connections of processes that are not the target's.
const notTarget = ^uint32(0)

// connection returns a connection that is in the list for the first time.
func (p *tcpPoller) connection(s listedSocket, owner uint32, listening map[uint16]bool, now uint64) *polledConnection {
	if !p.began || owner == 0 || owner == notTarget {
		return &polledConnection{}
	}
	c := &polledConnection{ofTarget: true, since: now, record: tcpTcpEvent{Time: now, Pid: owner, Tid: owner, Op: opConnect, Family: s.family, Reason: -1}}
	var err, err2 error
	c.record.Local, c.record.LocalPort, err = parseAddress(s.key.local)
	c.record.Remote, c.record.RemotePort, err2 = parseAddress(s.key.remote)
	c.ofTarget = err == nil && err2 == nil
	if listening[c.record.LocalPort] {
		c.record.Op = opAccept
	}
	comm, _ := os.ReadFile(filepath.Join(p.proc, fmt.Sprint(owner), "comm"))
	for i, b := range []byte(strings.TrimSuffix(string(comm), "\n")) {
		if i < len(c.record.Comm)-1 {
			c.record.Comm[i] = int8(b)
		}
	}
	return c
}

// owners returns a process for each socket, by inode: the target's, or notTarget.
func (p *tcpPoller) owners() map[uint64]uint32 {
	out := map[uint64]uint32{}
	pids, _ := filepath.Glob(filepath.Join(p.proc, "[0-9]*"))
	for _, dir := range pids {
		pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32)
		if err != nil {
			continue
		}
		owner := uint32(pid)
		var ns unix.Stat_t
		if unix.Stat(filepath.Join(dir, "ns/mnt"), &ns) != nil || !p.target.HasMountNS(uint32(ns.Ino)) {
			owner = notTarget
		}
		descriptors, _ := filepath.Glob(filepath.Join(dir, "fd", "*"))
		for _, fd := range descriptors {
			link, err := os.Readlink(fd)
			if err != nil {
				continue
			}
			var inode uint64
			if _, err := fmt.Sscanf(link, "socket:[%d]", &inode); err == nil && (out[inode] == 0 || out[inode] == notTarget) {
				out[inode] = owner
			}
		}
	}
	return out
}

// readSockets reads one of the kernel's lists, such as /proc/net/tcp.
func readSockets(path string, family uint16) (out []listedSocket, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan() // titles
	for lines.Scan() {
		// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		state, err := strconv.ParseUint(fields[3], 16, 8)
		inode, err2 := strconv.ParseUint(fields[9], 10, 64)
		if err != nil || err2 != nil || inode == 0 {
			continue // 0: it belongs to no process any more
		}
		out = append(out, listedSocket{socketKey{inode, fields[1], fields[2]}, family, state})
	}
	return out, lines.Err()
}

// parseAddress parses an address of the kernel's lists: words of the machine's byte order, in hex, and a port.
func parseAddress(text string) (address [16]uint8, port uint16, err error) {
	words, portText, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(words)
	if err != nil || len(bytes) != 4 && len(bytes) != 16 {
		return address, 0, fmt.Errorf("address %.60q", text)
	}
	for i := 0; i < len(bytes); i += 4 {
		binary.NativeEndian.PutUint32(address[i:], binary.BigEndian.Uint32(bytes[i:]))
	}
	n, err := strconv.ParseUint(portText, 16, 16)
	return address, uint16(n), err
}

// rawOf returns a record as the BPF programs write it.
func rawOf(e tcpTcpEvent) []byte {
	words := make([]uint64, (unsafe.Sizeof(e)+7)/8)
	*(*tcpTcpEvent)(unsafe.Pointer(&words[0])) = e
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), unsafe.Sizeof(e))
}
