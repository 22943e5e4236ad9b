package terminal

import (
	"testing"
	"unicode"
)

// Printable text of any language stays. Control characters, escape sequences and characters that
// change the direction of the text do not, whatever the bytes.
func TestOnlyPrintableTextRemains(t *testing.T) {
	for in, want := range map[string][2]string{ // as Text, as Line
		"":                        {"", ""},
		"web: 100 %":              {"web: 100 %", "web: 100 %"},
		"Zoë 世界 ✓":                {"Zoë 世界 ✓", "Zoë 世界 ✓"},
		"two\nlines\tand a tab":   {"two\nlines\tand a tab", "two\ufffdlines\ufffdand a tab"},
		"\x1b]0;title\x07\x1b[2J": {"\ufffd]0;title\ufffd\ufffd[2J", "\ufffd]0;title\ufffd\ufffd[2J"},
		"\u202egnp.exe":           {"\ufffdgnp.exe", "\ufffdgnp.exe"},
		"\r\x00\x7f\u009b":        {"\ufffd\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd\ufffd"},
		"\xff\xfe":                {"\ufffd\ufffd", "\ufffd\ufffd"},
	} {
		if got := Text(in); got != want[0] {
			t.Errorf("Text(%q) = %q, want %q", in, got, want[0])
		}
		if got := Line(in); got != want[1] {
			t.Errorf("Line(%q) = %q, want %q", in, got, want[1])
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("web\x1b[2J\n")
	f.Fuzz(func(t *testing.T, in string) {
		for _, r := range Line(in) {
			if !unicode.IsPrint(r) && r != unicode.ReplacementChar {
				t.Fatalf("%q is left of %q", r, in)
			}
		}
	})
}
