package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// Printer prints events. Its methods may be called from several goroutines.
type Printer interface {
	Print(pod, gadget string, e *frame.Event) error
}

// NewPrinter makes a printer for a format: columns or json; "" is columns on a
// terminal and JSON lines elsewhere.
func NewPrinter(w io.Writer, format string, terminal bool) (Printer, error) {
	switch {
	case format == "columns" || format == "" && terminal:
		return &columns{w: w}, nil
	case format == "json" || format == "":
		return &jsonLines{encoder: json.NewEncoder(w)}, nil
	}
	return nil, fmt.Errorf("--output %q: columns and json are known", format)
}

type jsonLines struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

// line is one event with where it comes from.
type line struct {
	Pod    string `json:"pod"`
	Gadget string `json:"gadget"`
	*frame.Event
}

func (p *jsonLines) Print(pod, gadget string, e *frame.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.encoder.Encode(line{pod, gadget, e})
}

type columns struct {
	mu     sync.Mutex
	w      io.Writer
	headed bool
}

const row = "%-12s  %7d  %-15s  %-7s  %s\n"

func (p *columns) Print(_, gadget string, e *frame.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.headed {
		p.headed = true
		fmt.Fprintf(p.w, "%-12s  %7s  %-15s  %-7s  %s\n", "TIME", "PID", "COMM", "EVENT", "DETAIL")
	}
	name, detail := gadget, ""
	switch {
	case e.Open != nil:
		result := fmt.Sprintf("fd %d", e.Open.FD)
		if e.Open.Error != "" {
			result = e.Open.Error
		}
		detail = fmt.Sprintf("%s  %s  %s", e.Open.Path, result, short(e.Open.Took))
	case e.TCP != nil:
		name = e.TCP.Op
		detail = fmt.Sprintf("%s -> %s", e.TCP.Local, e.TCP.Remote)
		switch {
		case e.TCP.Op == "accept":
			detail = fmt.Sprintf("%s <- %s", e.TCP.Local, e.TCP.Remote)
		case e.TCP.Op == "close":
			detail += fmt.Sprintf("  sent %d B  received %d B  %s", e.TCP.Sent, e.TCP.Received, short(e.TCP.Took))
		case e.TCP.Error != "":
			detail += "  " + e.TCP.Error
		}
	}
	_, err := fmt.Fprintf(p.w, row, e.Time.Local().Format("15:04:05.000"), e.PID, e.Comm, name, detail)
	return err
}

// short is a duration to three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Nanosecond).String()
}
