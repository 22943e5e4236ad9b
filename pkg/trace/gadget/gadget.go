// Package gadget describes the gadgets: what each traces, the fields of its events, and how an event is shown. The
// command line and the tracer share it. Descriptions drive look-up, completion, JSON, columns, filters and
// docs/tracing.md. To add a gadget, add its BPF program, a file here, and one in sidecar/gadget.
package gadget

import (
	"fmt"
	"slices"
	"strings"
)

// Gadget traces one kind of event.
type Gadget struct {
	Name   string
	Help   string         // one line
	Unseen string         // what the gadget does not see, "" for nothing
	Totals bool           // whether its events are counts that come when it stops
	New    func() Payload // an empty payload: its type is the type of the gadget's payloads
}

// Payload is what an event of a gadget has besides the fields of all events: a pointer to a struct. The tags of
// its fields describe them: json is the name in JSON, help says what the field is, unit is its unit (see Unit), and
// field is the name for --fields and --filter if it differs from that in JSON.
type Payload interface {
	// Show returns the event's name and its details, for a line of a table. The caller escapes both.
	Show() (name, detail string)
	// Key is what events are counted by in a summary, such as the path of a file.
	Key() string
	// Failed returns why what the event tells of failed, such as ENOENT, "" if it did not.
	Failed() string
}

// Total is a payload of counts: it stands for many events.
type Total interface {
	Payload
	// Counted returns what it stands for.
	Counted() Counts
}

// Counts are events that were counted instead of told.
type Counts struct {
	Events  uint64
	Errors  map[string]uint64 // how many failed, by why
	Buckets []uint64          // by duration: see Histogram
}

// all are the gadgets, in the order in which they are shown.
var all = []Gadget{openGadget, tcpGadget, execGadget, exitGadget, signalGadget, oomGadget, syscallsGadget, slowGadget}

// All returns the gadgets, in the order in which they are shown.
func All() []Gadget { return slices.Clone(all) }

// Names returns the names of all gadgets.
func Names() []string {
	var names []string
	for _, g := range all {
		names = append(names, g.Name)
	}
	return names
}

// List returns the names of all gadgets for a help text.
func List() string { return strings.Join(Names(), ", ") }

// Lookup returns the gadgets with the given names, in the same order. It returns an error if one does
// not exist.
func Lookup(names []string) ([]Gadget, error) {
	var out []Gadget
	for _, name := range names {
		g, ok := find(name)
		if !ok {
			return nil, fmt.Errorf("gadget %q: must be one of %s", name, List())
		}
		out = append(out, g)
	}
	return out, nil
}

func find(name string) (Gadget, bool) {
	i := slices.IndexFunc(all, func(g Gadget) bool { return g.Name == name })
	if i < 0 {
		return Gadget{}, false
	}
	return all[i], true
}
