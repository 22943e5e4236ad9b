package gadget

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

var tcpGadget = Gadget{
	Name: "tcp", Help: "TCP connections made, accepted and closed, with bytes and duration; resets and retransmissions", Unseen: "connections that were open before, and those that io_uring accepts",
	New: func() Payload { return &TCP{} },
}

// TCP is a change in the state of a TCP connection.
type TCP struct {
	Op       string         `json:"op" help:"connect, accept, close, reset sent, reset received, or retransmit"`
	Local    netip.AddrPort `json:"local" help:"address and port in the sandbox"`
	Remote   netip.AddrPort `json:"remote" help:"address and port of the peer"`
	Sent     uint64         `json:"sent,omitempty" unit:"bytes" help:"that the peer acknowledged, at close"`
	Received uint64         `json:"received,omitempty" unit:"bytes" help:"that the program could read, at close"`
	Error    string         `json:"error,omitempty" help:"of a failed connect, such as ECONNREFUSED"`
	Reason   string         `json:"reason,omitempty" help:"of a reset that the sandbox sent, as the kernel names it"`
	RTT      time.Duration  `json:"rttNs,omitempty" field:"rtt" unit:"ns" help:"smoothed round-trip time, at close"`
	// Retransmitted is the number of segments that were sent again.
	Retransmitted uint32        `json:"retransmitted,omitempty" help:"segments that were sent again, at close"`
	Took          time.Duration `json:"tookNs,omitempty" field:"took" unit:"ns" help:"of the handshake for connect, of the wait to be accepted, else since the connection was established"`
}

// Show implements Payload.
func (t *TCP) Show() (name, detail string) {
	detail = fmt.Sprintf("%s -> %s", t.Local, t.Remote)
	switch {
	case t.Op == "accept":
		detail = fmt.Sprintf("%s <- %s", t.Local, t.Remote)
	case t.Op == "close":
		detail += fmt.Sprintf("  sent %d B  received %d B  %s", t.Sent, t.Received, formatDuration(t.Took))
		if t.RTT > 0 {
			detail += "  rtt " + formatDuration(t.RTT)
		}
		if t.Retransmitted > 0 {
			detail += fmt.Sprintf("  %d retransmitted", t.Retransmitted)
		}
	case t.Reason != "":
		detail += "  " + t.Reason
	case t.Error != "":
		detail += "  " + t.Error
	}
	return t.Op, detail
}

// Key implements Payload.
func (t *TCP) Key() string {
	if t.Op == "accept" {
		return fmt.Sprintf("%s on port %d", t.Op, t.Local.Port())
	}
	return t.Op + " " + t.Remote.String()
}

// Failed implements Payload.
func (t *TCP) Failed() string {
	if strings.HasPrefix(t.Op, "reset") {
		return t.Op
	}
	return t.Error
}
