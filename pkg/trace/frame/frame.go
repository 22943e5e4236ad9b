// Package frame is what the tracer in a sandbox and the command line outside say to
// each other over an exec stream: the catalogue of gadgets, and frames, one JSON
// object a line. A frame has a number; numbers without a gap prove that the stream
// lost nothing, and the ledger at the end accounts for every event that the kernel
// saw: seen = delivered + lost in the kernel + dropped in user space.
package frame

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// HeartbeatEvery is how often the client writes a newline to the tracer; without one
// for HeartbeatLimit the tracer stops by itself.
const (
	HeartbeatEvery = 15 * time.Second
	HeartbeatLimit = 60 * time.Second
)

// Gadget is one thing that can be traced.
type Gadget struct {
	Name string
	Help string
}

// Catalogue lists the gadgets, in the order they are shown.
func Catalogue() []Gadget {
	return []Gadget{
		{"open", "files opened, with result and time taken"},
		{"tcp", "TCP connections made, accepted and closed, with bytes and duration"},
	}
}

// Names of all gadgets.
func Names() []string {
	var names []string
	for _, g := range Catalogue() {
		names = append(names, g.Name)
	}
	return names
}

// GadgetNames is the list for a help text.
func GadgetNames() string { return strings.Join(Names(), ", ") }

// Lookup checks names that a user gave, in their order.
func Lookup(names []string) ([]Gadget, error) {
	var out []Gadget
	for _, name := range names {
		found := false
		for _, g := range Catalogue() {
			if g.Name == name {
				out, found = append(out, g), true
			}
		}
		if !found {
			return nil, fmt.Errorf("gadget %q: known are %s", name, GadgetNames())
		}
	}
	return out, nil
}

// Kinds of frames.
const (
	KindGadget = "gadget" // a gadget works, or why not
	KindEvent  = "event"
	KindLedger = "ledger" // the last frame of a gadget
)

// Frame is one line of the stream. Exactly the field that its kind names is set.
type Frame struct {
	Seq    uint64  `json:"seq"` // from 1, without gaps
	Kind   string  `json:"kind"`
	Gadget string  `json:"gadget"`
	Status *Status `json:"status,omitempty"`
	Event  *Event  `json:"event,omitempty"`
	Ledger *Ledger `json:"ledger,omitempty"`
}

// Status says whether a gadget works here.
type Status struct {
	State  string `json:"state"` // works, degraded, unavailable
	Reason string `json:"reason,omitempty"`
}

// States of a gadget.
const (
	Works       = "works"
	Degraded    = "degraded"
	Unavailable = "unavailable"
)

// Event is one thing that a program did. PIDs are those inside the sandbox.
type Event struct {
	Time time.Time `json:"time"`
	PID  uint32    `json:"pid"`
	TID  uint32    `json:"tid"`
	Comm string    `json:"comm"`
	Open *Open     `json:"open,omitempty"`
	TCP  *TCP      `json:"tcp,omitempty"`
}

// Open is an attempt to open a file.
type Open struct {
	Path  string        `json:"path"`
	Flags uint32        `json:"flags"`
	FD    int32         `json:"fd"`              // -1 when it failed
	Error string        `json:"error,omitempty"` // such as ENOENT
	Took  time.Duration `json:"tookNs"`
}

// TCP is a step in a connection's life.
type TCP struct {
	Op       string         `json:"op"` // connect, accept, close
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
	Sent     uint64         `json:"sent,omitempty"`     // bytes acknowledged by the peer, at close
	Received uint64         `json:"received,omitempty"` // bytes, at close
	Error    string         `json:"error,omitempty"`    // of a failed connect
	Took     time.Duration  `json:"tookNs,omitempty"`   // of the handshake, or of the connection at close
}

// Ledger accounts for a gadget's events.
type Ledger struct {
	Seen       uint64 `json:"seen"`
	Delivered  uint64 `json:"delivered"`
	LostKernel uint64 `json:"lostInKernel"`
	Dropped    uint64 `json:"dropped"`
}

// Balanced says whether every event seen is accounted for.
func (l Ledger) Balanced() bool { return l.Seen == l.Delivered+l.LostKernel+l.Dropped }

// String is the ledger in a line.
func (l Ledger) String() string {
	s := fmt.Sprintf("%d events seen = %d delivered + %d lost in the kernel + %d dropped", l.Seen, l.Delivered, l.LostKernel, l.Dropped)
	if !l.Balanced() {
		s += " (does not add up)"
	}
	return s
}
