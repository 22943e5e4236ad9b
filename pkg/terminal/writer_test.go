package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// hostile are texts that steer a terminal, hide text or are not UTF-8.
var hostile = []string{
	"\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x1b]52;c;cm0gLXJmIC8=\x07", "\x9b31m", "\u009b31m", "\u202egnp.exe", "\u2066a\u2069", "\u200b\ufeff",
	"a\rb", "a\bb", "\x00", "\x7f", "\xff\xfe", "\xe2\x80", "\U000e0001", "\u2028", "\x1b[1mbold\x1b[0m", "\x1b[31mred", strings.Repeat("x\x1b", 1<<19),
}

// Nothing that is not printable passes, wherever it is cut into writes.
func TestTheWriterPassesOnlyPrintableText(t *testing.T) {
	for _, text := range append(hostile, "web: 100 %", "Zoë 世界 ✓\n\ttab") {
		var whole, bytewise bytes.Buffer
		if n, err := NewWriter(&whole, false).Write([]byte(text)); err != nil || n != len(text) {
			t.Errorf("%.40q: wrote %d of %d bytes: %v", text, n, len(text), err)
		}
		w := NewWriter(&bytewise, false)
		for i := range min(len(text), 1000) {
			if _, err := w.Write([]byte{text[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if len(text) <= 1000 && whole.String() != bytewise.String() {
			t.Errorf("%q: %q byte by byte, %q at once", text, bytewise.String(), whole.String())
		}
		for _, r := range whole.String() {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) && r != unicode.ReplacementChar {
				t.Fatalf("%.40q: %q passes", text, r)
			}
		}
		if printable := Text(text) == text && utf8.ValidString(text); printable && whole.String() != text {
			t.Errorf("%q became %q", text, whole.String())
		}
	}
}

// Our own bold text passes, and no other sequence, even one that makes text bold.
func TestTheWriterPassesBold(t *testing.T) {
	var out bytes.Buffer
	text := Bold("shift") + " \x1b[31mred\x1b[1;31m \x1b[1mbold\x1b[0m\x1b"
	want := "\x1b[1mshift\x1b[0m \ufffd[31mred\ufffd[1;31m \ufffd[1mbold\ufffd[0m"
	if _, err := NewWriter(&out, true).Write([]byte(text)); err != nil || out.String() != want {
		t.Errorf("got %q, want %q: %v", out.String(), want, err)
	}
	out.Reset()
	w := NewWriter(&out, true)
	for i := range len(text) {
		if _, err := w.Write([]byte{text[i]}); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != want {
		t.Errorf("byte by byte: got %q, want %q", out.String(), want)
	}
}

// JSON that is written has the same values, and only printable characters.
func TestTheJSONWriterKeepsTheValues(t *testing.T) {
	for _, text := range append(hostile, "Zoë 世界 ✓\n\ttab") {
		encoded, err := json.MarshalIndent(map[string]string{text: text}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := NewJSONWriter(&out).Write(encoded); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("%.40q: %q passes", text, r)
			}
		}
		var was, got any
		if err := json.Unmarshal(encoded, &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%.40q: %v", text, err)
		}
		a, _ := json.Marshal(was)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) {
			t.Errorf("%.40q: got %.80s, want %.80s", text, b, a)
		}
	}
}

func FuzzWriter(f *testing.F) {
	for _, text := range hostile[:len(hostile)-1] {
		f.Add([]byte(text), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = max(0, min(cut, len(in)))
		var whole, parts bytes.Buffer
		_, _ = NewWriter(&whole, true).Write(in)
		w := NewWriter(&parts, false)
		_, _ = w.Write(in[:cut])
		_, _ = w.Write(in[cut:])
		for _, r := range parts.String() {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) && r != unicode.ReplacementChar {
				t.Fatalf("%q of %q passes", r, in)
			}
		}
		for _, r := range whole.String() {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) && r != unicode.ReplacementChar {
				t.Fatalf("with bold, %q of %q passes", r, in)
			}
		}
	})
}
