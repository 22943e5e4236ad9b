package gadget

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

var syscallsGadget = Gadget{
	Name: "syscalls", Help: "system calls counted in the kernel: how many, how long they take, with which errors they fail",
	Unseen: "calls that io_uring makes", Totals: true,
	New: func() Payload { return &Syscalls{} },
}

// Syscalls is what was counted of one system call when the gadget stopped.
type Syscalls struct {
	Name    string            `json:"name" field:"call" help:"of the system call; those of the 32-bit table are marked"`
	Count   uint64            `json:"count" help:"calls that returned"`
	Total   time.Duration     `json:"totalNs" field:"total" unit:"ns" help:"time of all calls together"`
	Errors  map[string]uint64 `json:"errors,omitempty" help:"how many calls failed with each error"`
	Buckets []uint64          `json:"log2Ns" field:"buckets" help:"calls by duration: the n-th number counts those from 2^n ns to less than 2^(n+1) ns, from 0"`
}

// Show implements Payload.
func (s *Syscalls) Show() (name, detail string) {
	detail = fmt.Sprintf("%s  %d calls  %s each", s.Name, s.Count, formatDuration(s.Total/time.Duration(max(s.Count, 1))))
	for _, e := range slices.Sorted(maps.Keys(s.Errors)) {
		detail += fmt.Sprintf("  %s %d", e, s.Errors[e])
	}
	return syscallsGadget.Name, detail
}

// Key implements Payload.
func (s *Syscalls) Key() string { return s.Name }

// Failed implements Payload.
func (*Syscalls) Failed() string { return "" }

// maxBuckets is how many buckets a duration can fall into, as it has 63 bits.
const maxBuckets = 62

// Counted implements Total.
func (s *Syscalls) Counted() Counts {
	return Counts{Events: s.Count, Errors: s.Errors, Buckets: s.Buckets[:min(len(s.Buckets), maxBuckets)]}
}
