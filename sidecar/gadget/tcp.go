package gadget

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

func startTCP(t *target.Target) (*Running, error) {
	spec, err := loadTcp()
	if err != nil {
		return nil, err
	}
	if err := setConstants(spec, t); err != nil {
		return nil, err
	}
	var o tcpObjects
	if err := spec.LoadAndAssign(&o, nil); err != nil {
		return nil, err
	}
	// Attach first, then add the existing listeners, so that none that opens in between is missed.
	r, err := attachPrograms(o.Events, o.Counters, []attachment{{"inet_sock_set_state", o.TcpState}}, decodeTCP, o.Close)
	if err != nil {
		return nil, err
	}
	for _, l := range t.Listeners() {
		owner := tcpOwner{Pid: l.PID, Tid: l.PID}
		for i := 0; i < len(l.Comm) && i < len(owner.Comm)-1; i++ {
			owner.Comm[i] = int8(l.Comm[i])
		}
		if err := o.Listeners.Put(l.Port, owner); err != nil {
			return nil, fmt.Errorf("add listener on port %d: %w", l.Port, err)
		}
	}
	return r, nil
}

// operations has the names of the OP_ constants in tcp.bpf.c.
var operations = map[uint16]string{1: "connect", 2: "accept", 3: "close"}

func decodeTCP(raw []byte, boot time.Time) (*frame.Event, error) {
	e, err := castRecord[tcpTcpEvent](raw)
	if err != nil {
		return nil, err
	}
	op, ok := operations[e.Op]
	if !ok {
		return nil, fmt.Errorf("unknown operation %d", e.Op)
	}
	return &frame.Event{
		Time: boot.Add(time.Duration(e.Time)), PID: e.Pid, TID: e.Tid, Comm: cString(e.Comm[:]),
		TCP: &frame.TCP{
			Op: op, Local: addrPort(e.Family, e.Local, e.LocalPort), Remote: addrPort(e.Family, e.Remote, e.RemotePort),
			Sent: e.Sent, Received: e.Received, Error: errnoName(e.Error), Took: time.Duration(e.Took),
		},
	}, nil
}

func addrPort(family uint16, bytes [16]uint8, port uint16) netip.AddrPort {
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(bytes[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(bytes).Unmap(), port)
}
