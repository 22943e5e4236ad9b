package terminal

import (
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The only control sequences that a Writer passes on: those of Bold.
const (
	bold  = "\x1b[1m"
	plain = "\x1b[0m"
)

// Bold returns text that a terminal shows in bold, for a Writer that was made with bold.
func Bold(s string) string { return bold + s + plain }

// Writer passes on printable text, line ends and tabs, and replaces everything else. What others wrote
// into the cluster can therefore neither steer the reader's terminal nor hide or reorder text, wherever
// it is printed. A Writer may be used concurrently.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	escape func(out []byte, r rune) []byte // for what is not printable
	bold   bool
	rest   []byte // the beginning of a rune, or of a control sequence, at the end of the last Write
}

// NewWriter returns a Writer that replaces what is not printable with U+FFFD. With bold, it passes on the
// sequences of Bold.
func NewWriter(w io.Writer, bold bool) *Writer {
	replace := func(out []byte, _ rune) []byte { return utf8.AppendRune(out, unicode.ReplacementChar) }
	return &Writer{w: w, bold: bold, escape: replace}
}

// NewJSONWriter returns a Writer for JSON. It writes what is not printable as an escape sequence of JSON,
// so a program reads exactly the same values. Outside of strings, JSON has only printable characters.
func NewJSONWriter(w io.Writer) *Writer {
	return &Writer{w: w, escape: func(out []byte, r rune) []byte {
		if r > 0xffff {
			r -= 0x10000
			return fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		return fmt.Appendf(out, `\u%04x`, r)
	}}
}

// Write writes p. It keeps a rune that p does not complete for the next Write.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := p
	if len(w.rest) > 0 {
		in = append(w.rest, p...)
		w.rest = nil
	}
	out := make([]byte, 0, len(in))
	for len(in) > 0 {
		if w.bold && in[0] == bold[0] {
			if sequence := in[:min(len(in), len(bold))]; string(sequence) == bold || string(sequence) == plain {
				out, in = append(out, sequence...), in[len(sequence):]
				continue
			}
		}
		if !utf8.FullRune(in) {
			w.rest = append([]byte(nil), in...)
			break
		}
		r, n := utf8.DecodeRune(in)
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r) && (r != utf8.RuneError || n > 1):
			out = append(out, in[:n]...)
		default:
			out = w.escape(out, r)
		}
		in = in[n:]
	}
	if _, err := w.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
