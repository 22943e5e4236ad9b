package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/osc-debug/osc-debug/pkg/terminal"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// Printer prints events. Its method may be called from several goroutines.
type Printer interface {
	// Print prints an event that a gadget saw in a pod.
	Print(pod string, e *gadget.Event) error
}

// Formats of NewPrinter.
const (
	Columns = "columns"
	JSON    = "json"  // one event a line
	JSONL   = "jsonl" // the same
)

// NewPrinter returns a printer for one of the formats. "" means columns if w is a terminal and
// JSON lines otherwise. fields are the columns to print, nil for the usual ones. The printer escapes what is not
// printable.
func NewPrinter(w io.Writer, format string, isTerminal bool, fields []string) (Printer, error) {
	if format == JSONL {
		format = JSON
	}
	switch {
	case format == Columns || format == "" && isTerminal:
		if fields != nil {
			return &fieldPrinter{w: terminal.NewWriter(w, false), fields: fields}, nil
		}
		return &columnPrinter{w: terminal.NewWriter(w, false)}, nil
	case (format == JSON || format == "") && fields == nil:
		return &jsonPrinter{w: terminal.NewJSONWriter(w)}, nil
	case format == JSON || format == "":
		return nil, fmt.Errorf("--fields needs --output columns: JSON has all fields")
	}
	return nil, fmt.Errorf("--output %q: must be columns, json or jsonl", format)
}

type jsonPrinter struct {
	mu   sync.Mutex
	w    io.Writer
	line []byte
}

// Print prints an event as one line of JSON.
func (p *jsonPrinter) Print(pod string, e *gadget.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	head, err := json.Marshal(struct {
		Pod    string `json:"pod"`
		Gadget string `json:"gadget"`
	}{pod, e.Gadget})
	if err != nil {
		return err
	}
	if p.line, err = e.AppendJSON(p.line[:0], string(head[1:len(head)-1])+","); err != nil {
		return err
	}
	p.line = append(p.line, '\n')
	_, err = p.w.Write(p.line)
	return err
}

type columnPrinter struct {
	mu            sync.Mutex
	w             io.Writer
	headerPrinted bool
}

const rowFormat = "%-12s  %7s  %-15s  %-7s  %s\n"

// Print prints an event as one line, after a header line before the first.
func (p *columnPrinter) Print(_ string, e *gadget.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.headerPrinted {
		p.headerPrinted = true
		fmt.Fprintf(p.w, rowFormat, "TIME", "PID", "COMM", "EVENT", "DETAIL")
	}
	name, detail := e.Payload.Show()
	_, err := fmt.Fprintf(p.w, rowFormat, e.Time.Local().Format("15:04:05.000"), fmt.Sprint(e.PID), terminal.Line(e.Comm), terminal.Line(name), terminal.Line(detail))
	return err
}

// fieldPrinter prints fields that the user chose.
type fieldPrinter struct {
	mu            sync.Mutex
	w             io.Writer
	fields        []string
	widths        []int
	headerPrinted bool
}

// Print prints the fields of an event as one line, after a header line before the first. A field that the event does
// not have is a dash.
func (p *fieldPrinter) Print(pod string, e *gadget.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.headerPrinted {
		p.headerPrinted, p.widths = true, make([]int, len(p.fields))
		head := slices.Clone(p.fields)
		for i := range head {
			head[i] = strings.ToUpper(head[i])
		}
		if err := p.printRow(head); err != nil {
			return err
		}
	}
	row := make([]string, len(p.fields))
	for i, name := range p.fields {
		switch name {
		case "pod":
			row[i] = pod
		case "gadget":
			row[i] = e.Gadget
		default:
			row[i] = e.Text(name)
		}
	}
	return p.printRow(row)
}

// maxWidth is the widest that a column becomes by a long value.
const maxWidth = 40

// printRow prints a row. A column is as wide as its widest value so far, within limits.
func (p *fieldPrinter) printRow(row []string) error {
	var line strings.Builder
	for i, value := range row {
		value = terminal.Line(value)
		if i == len(row)-1 {
			line.WriteString(value)
			break
		}
		p.widths[i] = max(p.widths[i], min(len(value), maxWidth))
		fmt.Fprintf(&line, "%-*s  ", p.widths[i], value)
	}
	line.WriteByte('\n')
	_, err := io.WriteString(p.w, line.String())
	return err
}
