package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/osc-debug/osc-debug/pkg/terminal"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// Printer prints events. Its method may be called from several goroutines.
type Printer interface {
	// Print prints an event that a gadget saw in a pod.
	Print(pod, gadget string, e *frame.Event) error
}

// NewPrinter returns a printer for a format, "columns" or "json". "" means columns if w is a terminal and
// JSON lines otherwise. The printer escapes what is not printable.
func NewPrinter(w io.Writer, format string, isTerminal bool) (Printer, error) {
	switch {
	case format == "columns" || format == "" && isTerminal:
		return &columnPrinter{w: terminal.NewWriter(w, false)}, nil
	case format == "json" || format == "":
		return &jsonPrinter{encoder: json.NewEncoder(terminal.NewJSONWriter(w))}, nil
	}
	return nil, fmt.Errorf("--output %q: must be columns or json", format)
}

type jsonPrinter struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

// line is one event with its origin.
type line struct {
	Pod    string `json:"pod"`
	Gadget string `json:"gadget"`
	*frame.Event
}

// Print prints an event as one line of JSON.
func (p *jsonPrinter) Print(pod, gadget string, e *frame.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.encoder.Encode(line{pod, gadget, e})
}

type columnPrinter struct {
	mu            sync.Mutex
	w             io.Writer
	headerPrinted bool
}

const rowFormat = "%-12s  %7d  %-15s  %-7s  %s\n"

// Print prints an event as one line, after a header line before the first.
func (p *columnPrinter) Print(_, gadget string, e *frame.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.headerPrinted {
		p.headerPrinted = true
		fmt.Fprintf(p.w, "%-12s  %7s  %-15s  %-7s  %s\n", "TIME", "PID", "COMM", "EVENT", "DETAIL")
	}
	name, detail := gadget, ""
	switch {
	case e.Open != nil:
		result := fmt.Sprintf("fd %d", e.Open.FD)
		if e.Open.Error != "" {
			result = terminal.Line(e.Open.Error)
		}
		detail = fmt.Sprintf("%s  %s  %s", terminal.Line(e.Open.Path), result, formatDuration(e.Open.Took))
	case e.TCP != nil:
		name = terminal.Line(e.TCP.Op)
		detail = fmt.Sprintf("%s -> %s", address(e.TCP.Local), address(e.TCP.Remote))
		switch {
		case e.TCP.Op == "accept":
			detail = fmt.Sprintf("%s <- %s", address(e.TCP.Local), address(e.TCP.Remote))
		case e.TCP.Op == "close":
			detail += fmt.Sprintf("  sent %d B  received %d B  %s", e.TCP.Sent, e.TCP.Received, formatDuration(e.TCP.Took))
		case e.TCP.Error != "":
			detail += "  " + terminal.Line(e.TCP.Error)
		}
	}
	_, err := fmt.Fprintf(p.w, rowFormat, e.Time.Local().Format("15:04:05.000"), e.PID, terminal.Line(e.Comm), name, detail)
	return err
}

// address is an address and a port on one line: the zone of an IPv6 address may be any text.
func address(a netip.AddrPort) string { return terminal.Line(a.String()) }

// formatDuration formats a duration with at least three significant digits.
func formatDuration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Nanosecond).String()
}
