// Command record draws the output of a real run, read from standard input, as an SVG picture of a
// terminal for the README:
//
//	make demo | tee run.txt; go run ./test/record < run.txt > docs/session.svg
package main

import (
	"bufio"
	"fmt"
	"html"
	"os"
	"strings"
)

const (
	lineHeight = 17  // pixels
	charWidth  = 8   // pixels
	margin     = 16  // pixels
	columns    = 136 // characters; longer lines are cut

	noBreak = "\u00a0" // browsers collapse other spaces in SVG text
)

func main() {
	var lines []string
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		line := strings.ReplaceAll(s.Text(), "\t", "    ")
		if len([]rune(line)) > columns {
			line = string([]rune(line)[:columns-1]) + "…"
		}
		lines = append(lines, line)
	}
	width, height := columns*charWidth+2*margin, len(lines)*lineHeight+2*margin
	fmt.Printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="A recorded session of osc-debug">
<rect width="100%%" height="100%%" rx="8" fill="#1b1f27"/>
<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="13" fill="#d5dae3">
`, width, height)
	for i, line := range lines {
		fmt.Printf("<text x=\"%d\" y=\"%d\"%s>%s</text>\n", margin, margin+(i+1)*lineHeight-4, style(line), html.EscapeString(strings.ReplaceAll(line, " ", noBreak)))
	}
	fmt.Println("</g>\n</svg>")
}

// style returns the SVG attributes of a line, which highlight headings and results.
func style(line string) string {
	switch {
	case strings.Contains(line, "0 failed:"), strings.Contains(line, "done: session"):
		return ` fill="#8fd19e"`
	case line != "" && !strings.HasPrefix(line, " "):
		return ` fill="#7fb2f0" font-weight="bold"`
	case strings.Contains(line, "osc-debug-") && strings.Contains(line, "kernel="):
		return ` fill="#f0c987"`
	}
	return ""
}
