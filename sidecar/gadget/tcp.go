package gadget

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

var tcpGadget = implementation{
	load: loadTcp,
	tiers: []tier{{
		name: rawTracepoints,
		required: []attachment{
			{to: "sys_exit", program: "tcp_accepted"}, {to: "inet_sock_set_state", program: "tcp_state"},
		},
		optional: []attachment{
			{to: "tcp_send_reset", program: "tcp_reset_sent", without: "resets that are sent"},
			{to: "tcp_receive_reset", program: "tcp_reset_received", without: "resets that are received"},
			{to: "tcp_retransmit_skb", program: "tcp_retransmitted", without: "retransmissions"},
		},
	}},
	polled: &tcpByProc,
	adapt:  findResetReason,
	decode: decodeTCP,
}

// findResetReason tells the programs whether the kernel gives a reason for resets, and notes the reasons' names: their
// numbers differ between kernels.
func findResetReason(spec *ebpf.CollectionSpec, kernel *btf.Spec, of *facts) error {
	if len(argumentsOf(kernel, "tcp_send_reset")) < 3 {
		return nil
	}
	of.resetReasons = map[int32]string{}
	var reasons *btf.Enum
	if err := kernel.TypeByName("sk_rst_reason", &reasons); err == nil {
		for _, v := range reasons.Values {
			of.resetReasons[int32(v.Value)] = v.Name
		}
	}
	return setConstant(spec, "reset_has_reason", true)
}

// The OP_ constants in tcp.bpf.c that the lowest tier has too.
const (
	opConnect = 1
	opAccept  = 2
	opClose   = 3
)

// operations has the names of the OP_ constants in tcp.bpf.c.
var operations = map[uint16]string{opConnect: "connect", opAccept: "accept", opClose: "close", 4: "reset sent", 5: "reset received", 6: "retransmit"}

func decodeTCP(raw []byte, of *facts) (head, describe.Payload, error) {
	e, err := castRecord[tcpTcpEvent](raw)
	if err != nil {
		return head{}, nil, err
	}
	op, ok := operations[e.Op]
	if !ok {
		return head{}, nil, fmt.Errorf("unknown operation %d", e.Op)
	}
	t := &describe.TCP{
		Op: op, Local: addrPort(e.Family, e.Local, e.LocalPort), Remote: addrPort(e.Family, e.Remote, e.RemotePort),
		Sent: e.Sent, Received: e.Received, Error: errnoName(e.Error), Took: time.Duration(e.Took),
		RTT: time.Duration(e.Rtt) * time.Microsecond, Retransmitted: e.Retransmitted,
	}
	if e.Reason >= 0 {
		t.Reason = cmp.Or(of.resetReasons[e.Reason], fmt.Sprintf("reason %d", e.Reason))
	}
	return head{e.Time, e.Pid, e.Tid, cString(e.Comm[:])}, t, nil
}

func addrPort(family uint16, bytes [16]uint8, port uint16) netip.AddrPort {
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(bytes[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(bytes).Unmap(), port)
}
