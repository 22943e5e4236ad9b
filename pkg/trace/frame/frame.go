// Package frame defines the protocol between the tracer in a sandbox and the command line, over an exec
// stream: the catalogue of gadgets, and frames, one JSON object per line. Frames are numbered; numbers
// without a gap prove that the stream lost nothing. The ledger at the end accounts for every event that
// the kernel saw: seen = delivered + lost in the kernel + dropped in user space.
package frame

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const (
	// HeartbeatEvery is the interval at which the client writes a newline to the tracer.
	HeartbeatEvery = 15 * time.Second
	// HeartbeatLimit is how long the tracer continues without a newline.
	HeartbeatLimit = 4 * HeartbeatEvery
)

// Gadget traces one kind of event.
type Gadget struct {
	Name string
	Help string
}

// Catalogue returns all gadgets, in the order in which they are shown.
func Catalogue() []Gadget {
	return []Gadget{
		{"open", "files opened, with result and time taken"},
		{"tcp", "TCP connections made, accepted and closed, with bytes and duration"},
	}
}

// Names returns the names of all gadgets.
func Names() []string {
	var names []string
	for _, g := range Catalogue() {
		names = append(names, g.Name)
	}
	return names
}

// GadgetNames returns the names of all gadgets as a list for help texts.
func GadgetNames() string { return strings.Join(Names(), ", ") }

// Lookup returns the gadgets with the given names, in the same order. It returns an error if one does
// not exist.
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
			return nil, fmt.Errorf("gadget %q: must be one of %s", name, GadgetNames())
		}
	}
	return out, nil
}

// Kinds of frames.
const (
	KindGadget = "gadget" // a gadget's status
	KindEvent  = "event"  // an event that a gadget saw
	KindLedger = "ledger" // a gadget's ledger, its last frame
)

// Frame is one line of the stream. Of Status, Event and Ledger, only the one for its kind is set.
type Frame struct {
	Seq    uint64  `json:"seq"` // from 1, without gaps
	Kind   string  `json:"kind"`
	Gadget string  `json:"gadget"`
	Status *Status `json:"status,omitempty"`
	Event  *Event  `json:"event,omitempty"`
	Ledger *Ledger `json:"ledger,omitempty"`
}

// Status says whether a gadget works in this sandbox, and why.
type Status struct {
	State  string `json:"state"` // one of the states below
	Reason string `json:"reason,omitempty"`
}

// States of a gadget.
const (
	Works       = "works"
	Degraded    = "degraded"
	Unavailable = "unavailable"
)

// Event is something that the traced program did. PIDs are those inside the sandbox.
type Event struct {
	Time time.Time `json:"time"`
	PID  uint32    `json:"pid"`
	TID  uint32    `json:"tid"`
	Comm string    `json:"comm"` // name of the thread
	Open *Open     `json:"open,omitempty"`
	TCP  *TCP      `json:"tcp,omitempty"`
}

// Open is an attempt to open a file.
type Open struct {
	Path  string        `json:"path"`
	Flags uint32        `json:"flags"`
	FD    int32         `json:"fd"`              // -1 if it failed
	Error string        `json:"error,omitempty"` // such as ENOENT
	Took  time.Duration `json:"tookNs"`          // duration of the system call
}

// TCP is a change in the state of a TCP connection.
type TCP struct {
	Op       string         `json:"op"` // connect, accept, close
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
	Sent     uint64         `json:"sent,omitempty"`     // bytes that the peer acknowledged, at close
	Received uint64         `json:"received,omitempty"` // bytes, at close
	Error    string         `json:"error,omitempty"`    // of a failed connect, such as ECONNREFUSED
	Took     time.Duration  `json:"tookNs,omitempty"`   // of the handshake, or of the connection at close
}

// Ledger accounts for a gadget's events.
type Ledger struct {
	Seen       uint64 `json:"seen"`         // by the BPF programs
	Delivered  uint64 `json:"delivered"`    // to the client
	LostKernel uint64 `json:"lostInKernel"` // because the ring buffer was full
	Dropped    uint64 `json:"dropped"`      // in user space
}

// Balanced reports whether the ledger accounts for every event seen.
func (l Ledger) Balanced() bool { return l.Seen == l.Delivered+l.LostKernel+l.Dropped }

// String returns the ledger in one line.
func (l Ledger) String() string {
	s := fmt.Sprintf("%d events seen = %d delivered + %d lost in the kernel + %d dropped", l.Seen, l.Delivered, l.LostKernel, l.Dropped)
	if !l.Balanced() {
		s += " (does not add up)"
	}
	return s
}
