// Package frame defines the protocol between the tracer in a sandbox and the command line, over an exec
// stream: frames, one JSON object per line. Frames are numbered; numbers
// without a gap prove that the stream lost nothing. The ledger at the end accounts for every event that
// the kernel saw: seen = delivered + lost in the kernel + dropped in user space + filtered.
package frame

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
)

const (
	// HeartbeatEvery is the interval at which the client writes a newline to the tracer.
	HeartbeatEvery = 15 * time.Second
	// HeartbeatLimit is how long the tracer continues without a newline.
	HeartbeatLimit = 4 * HeartbeatEvery
)

// What the sidecar's scratch volume may hold, in bytes: the kubelet evicts a pod that exceeds it. RecordingLimit is the
// recorder's part of it.
const (
	ScratchLimit   = 1 << 30
	RecordingLimit = 256 << 20
)

// ScratchDirs are where the sidecar has its scratch volume.
var ScratchDirs = []string{"/scratch", "/out"}

// RecordingDir is where the recorder of a sandbox keeps its files, in the sidecar.
const RecordingDir = "/scratch/recording"

// Kinds of frames.
const (
	KindGadget = "gadget" // a gadget's status
	KindEvent  = "event"  // an event that a gadget saw
	KindLedger = "ledger" // a gadget's ledger, its last frame
	KindNote   = "note"   // something that the user should know, of no gadget
	KindEnd    = "end"    // the end of an exported recording
)

// Frame is one line of the stream. Of Status, Event, Ledger and Note, only the one for its kind is set.
type Frame struct {
	Seq    uint64        `json:"seq"` // from 1, without gaps
	Kind   string        `json:"kind"`
	Gadget string        `json:"gadget,omitempty"`
	Status *Status       `json:"status,omitempty"`
	Event  *gadget.Event `json:"event,omitempty"`
	Ledger *Ledger       `json:"ledger,omitempty"`
	Note   string        `json:"note,omitempty"`
	// Sum is the SHA-256 sum of all lines before this one, in hex, and State the recorder's state, at the end of an
	// exported recording.
	Sum   string          `json:"sum,omitempty"`
	State json.RawMessage `json:"state,omitempty"`
}

// AppendEvent appends the frame of an event and a newline, as encoding/json would write them.
func AppendEvent(to []byte, seq uint64, e *gadget.Event) ([]byte, error) {
	to = strconv.AppendUint(append(to, `{"seq":`...), seq, 10)
	to = append(append(append(to, `,"kind":"event","gadget":"`...), e.Gadget...), `","event":`...)
	to, err := e.AppendJSON(to, "")
	return append(to, '}', '\n'), err
}

// UnmarshalJSON implements json.Unmarshaler: the frame's gadget says what its event is.
func (f *Frame) UnmarshalJSON(data []byte) error {
	type plain Frame
	var read struct {
		plain
		Event json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*f = Frame(read.plain)
	if read.Event == nil {
		return nil
	}
	var err error
	f.Event, err = gadget.DecodeEvent(f.Gadget, read.Event)
	return err
}

// Status says whether a gadget works in this sandbox, and why.
type Status struct {
	State  string `json:"state"` // one of the states below
	Reason string `json:"reason,omitempty"`
	// Tier is how the gadget sees events, such as "raw tracepoints".
	Tier string `json:"tier,omitempty"`
}

// States of a gadget.
const (
	Works       = "works"
	Degraded    = "degraded"
	Unavailable = "unavailable"
)

// State is what a recorder says about itself.
type State struct {
	// Attached is when the gadgets were attached, or could not be. The program starts after that, unless Late is set:
	// then what it did first may be missing.
	Attached time.Time                  `json:"attached"`
	Late     bool                       `json:"late,omitempty"`
	Gadgets  map[string]Status          `json:"gadgets"`
	Ledgers  map[string]Ledger          `json:"ledgers,omitempty"` // once the recorder has ended
	Gone     map[string]uint64          `json:"gone,omitempty"`    // records that the ring no longer has, by gadget
	Totals   map[string]json.RawMessage `json:"totals,omitempty"`  // payloads of gadgets that count in the kernel
	Ended    bool                       `json:"ended,omitempty"`
	Failed   string                     `json:"failed,omitempty"` // why the recorder does not record, or not all
}

// Probe is what a sandbox's kernel offers for tracing.
type Probe struct {
	Kernel  string            `json:"kernel"` // release
	Gadgets map[string]Status `json:"gadgets"`
	// Seccomp is the seccomp mode of the program, as in /proc/PID/status: 0 none, 1 strict, 2 filter; "" if it was not asked.
	Seccomp string `json:"seccomp,omitempty"`
}

// Capture is a line that a capture of packets reports: the interfaces when it begins, what was counted at each when it ends.
type Capture struct {
	Interfaces []string                     `json:"interfaces,omitempty"`
	Counted    map[string]pcapng.Statistics `json:"counted,omitempty"`
}

// File is what comes before and after the bytes of a file that is copied.
type File struct {
	Size int64  `json:"size"`          // in bytes
	Sum  string `json:"sum,omitempty"` // SHA-256, in hex
}

// Ledger accounts for a gadget's events.
type Ledger struct {
	Seen       uint64 `json:"seen"`               // by the BPF programs, or the lowest tier
	Delivered  uint64 `json:"delivered"`          // to the client
	LostKernel uint64 `json:"lostInKernel"`       // because the ring buffer was full
	Dropped    uint64 `json:"dropped"`            // in user space
	Filtered   uint64 `json:"filtered,omitempty"` // because they did not pass a filter
	// Missed is how often the BPF programs could not follow something, because a map was full or because the kernel
	// does not run a program within itself. Seen does not include it.
	Missed uint64 `json:"missed,omitempty"`
}

// Balanced reports whether the ledger accounts for every event seen.
func (l Ledger) Balanced() bool { return l.Seen == l.Delivered+l.LostKernel+l.Dropped+l.Filtered }

// Lost reports whether events were lost, or something could not be followed.
func (l Ledger) Lost() bool { return !l.Balanced() || l.LostKernel+l.Dropped+l.Missed > 0 }

// String returns the ledger in one line.
func (l Ledger) String() string {
	s := fmt.Sprintf("%d events seen = %d delivered + %d lost in the kernel + %d dropped", l.Seen, l.Delivered, l.LostKernel, l.Dropped)
	if l.Filtered > 0 {
		s += fmt.Sprintf(" + %d filtered", l.Filtered)
	}
	if !l.Balanced() {
		s += " (does not add up)"
	}
	if l.Missed > 0 {
		s += fmt.Sprintf("; %d could not be followed", l.Missed)
	}
	return s
}
