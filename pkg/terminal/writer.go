package terminal

import (
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The only control sequences that a Writer writes. In its input they are marks that nobody can guess, so what
// others wrote cannot be bold.
var (
	bold  = newMark("\x1b[1m")
	plain = newMark("\x1b[0m")
)

// mark stands for a control sequence. It begins with an escape character.
type mark struct{ text, sequence string }

func newMark(sequence string) mark { return mark{"\x1b" + rand.Text(), sequence} }

// Bold returns text that a terminal shows in bold, for a Writer that was made with bold.
func Bold(s string) string { return bold.text + s + plain.text }

// Writer passes on printable text, line ends and tabs, and replaces everything else. What others wrote
// into the cluster can therefore neither steer the reader's terminal nor hide or reorder text, wherever
// it is printed. A Writer may be used concurrently.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	escape func(out []byte, r rune) []byte // for what is not printable
	bold   bool
	rest   []byte // the beginning of a rune, or of a mark, at the end of the last Write
}

// NewWriter returns a Writer that replaces what is not printable with U+FFFD. With bold, it shows
// what Bold returns in bold.
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

// Write writes p. It keeps a rune or a mark that p does not complete for the next Write.
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
		found, whole := w.mark(in)
		if whole {
			out, in = append(out, found.sequence...), in[len(found.text):]
			continue
		}
		if found != nil || !utf8.FullRune(in) {
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

// mark returns the mark that the input begins with, nil for none, and whether the input has all of it.
func (w *Writer) mark(in []byte) (found *mark, whole bool) {
	if !w.bold || in[0] != bold.text[0] {
		return nil, false
	}
	for _, m := range []*mark{&bold, &plain} {
		n := min(len(in), len(m.text))
		if m.text[:n] == string(in[:n]) {
			return m, n == len(m.text)
		}
	}
	return nil, false
}
