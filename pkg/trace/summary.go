package trace

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/osc-debug/osc-debug/pkg/terminal"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// maxKeys limits how many keys a summary counts for a gadget: a program can open any number of files.
const maxKeys = 10_000

// Summary counts events by what they are about. It is a Printer, and may print each event elsewhere too.
type Summary struct {
	Next Printer // prints each event too; nil: none

	mu     sync.Mutex
	counts map[string]map[string]*count // by gadget and key
	others map[string]uint64            // events whose key is over maxKeys, by gadget
}

// count is what a summary knows of the events with one key.
type count struct {
	key           string
	events, fails uint64
	errors        map[string]uint64
	buckets       []uint64 // by duration, of events that were counted
}

// Print implements Printer.
func (s *Summary) Print(pod string, e *gadget.Event) error {
	s.add(e)
	if s.Next == nil {
		return nil
	}
	return s.Next.Print(pod, e)
}

func (s *Summary) add(e *gadget.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts, s.others = map[string]map[string]*count{}, map[string]uint64{}
	}
	keys := s.counts[e.Gadget]
	if keys == nil {
		keys = map[string]*count{}
		s.counts[e.Gadget] = keys
	}
	key, counted := e.Payload.Key(), countsOf(e.Payload)
	c := keys[key]
	if c == nil {
		if len(keys) == maxKeys {
			s.others[e.Gadget] += counted.Events
			return
		}
		c = &count{key: key, errors: map[string]uint64{}}
		keys[key] = c
	}
	c.events += counted.Events
	for why, n := range counted.Errors {
		c.fails += n
		c.errors[why] += n
	}
	c.buckets = append(c.buckets, make([]uint64, max(0, len(counted.Buckets)-len(c.buckets)))...)
	for i, n := range counted.Buckets {
		c.buckets[i] += n
	}
}

// countsOf returns what an event stands for: itself, or what was counted.
func countsOf(p gadget.Payload) gadget.Counts {
	if total, ok := p.(gadget.Total); ok {
		return total.Counted()
	}
	one := gadget.Counts{Events: 1}
	if failed := p.Failed(); failed != "" {
		one.Errors = map[string]uint64{failed: 1}
	}
	return one
}

// histograms is for how many of the most frequent keys of a gadget a histogram is drawn.
const histograms = 3

// Write writes the most frequent keys of each gadget, at most rows of each, and histograms of the first of them, where the
// gadget has any.
func (s *Summary) Write(w io.Writer, rows int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var drawn strings.Builder
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GADGET\tEVENTS\tFAILED\tWHAT")
	for _, name := range gadget.Names() {
		keys := s.counts[name]
		sorted := slices.SortedFunc(maps.Values(keys), func(a, b *count) int {
			return cmp.Or(cmp.Compare(b.events, a.events), cmp.Compare(a.key, b.key))
		})
		rest := s.others[name]
		for i, c := range sorted {
			if i >= rows {
				rest += c.events
				continue
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", name, c.events, describeErrors(c), terminal.Line(c.key))
			if bars := gadget.Histogram(c.buckets); bars != "" && i < histograms {
				fmt.Fprintf(&drawn, "\n%s, %d by how long they took:\n%s", terminal.Line(c.key), c.events, bars)
			}
		}
		if rest > 0 {
			fmt.Fprintf(t, "%s\t%d\t\tothers\n", name, rest)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, drawn.String())
	return err
}

// describeErrors returns how many events failed, and why most of them did.
func describeErrors(c *count) string {
	if c.fails == 0 {
		return ""
	}
	most := slices.MaxFunc(slices.Sorted(maps.Keys(c.errors)), func(a, b string) int { return cmp.Compare(c.errors[a], c.errors[b]) })
	if len(c.errors) == 1 {
		return fmt.Sprintf("%d %s", c.fails, terminal.Line(most))
	}
	return fmt.Sprintf("%d, most %s", c.fails, terminal.Line(most))
}
