// Package terminal makes text from others safe to print: what someone wrote into the cluster, or what a
// traced program did, must neither steer the reader's terminal nor look like our own output.
package terminal

import (
	"strings"
	"unicode"
)

// Text replaces what is not printable, but for line ends and tabs.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// Line replaces what is not printable, line ends and tabs too. It is for a value within a line, such as
// a user's name in a table.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
