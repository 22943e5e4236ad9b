package main

import (
	"fmt"
	"os"
	"strings"
)

// recordFile contains the table of the parts' last runs between the comments recordBegin and
// recordEnd.
const (
	recordFile  = "docs/reliability.md"
	recordBegin = "<!-- soak: 'make soak' writes this table -->\n"
	recordEnd   = "<!-- soak: end -->\n"
)

// row says when a part last passed: the commit, the sum of its code, the date, and how long it took.
type row struct{ commit, code, date, took string }

// record is the table in a file.
type record struct {
	file          string
	before, after string         // the file's text before and after the table
	rows          map[string]row // by part
}

func readRecord(file string) (*record, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	before, rest, begun := strings.Cut(string(text), recordBegin)
	table, after, ended := strings.Cut(rest, recordEnd)
	if !begun || !ended {
		return nil, fmt.Errorf("%s: no table between the soak comments", file)
	}
	r := &record{file: file, before: before, after: after, rows: map[string]row{}}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 8 || strings.TrimSpace(cells[2]) == "commit" || strings.HasPrefix(cells[1], "-") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		r.rows[cells[1]] = row{cells[2], cells[3], cells[4], cells[5]}
	}
	return r, nil
}

func (r *record) write() error {
	var table strings.Builder
	table.WriteString("| part | commit | code | date | took | what |\n|---|---|---|---|---|---|\n")
	for _, p := range parts {
		if last, ok := r.rows[p.name]; ok {
			fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | %s |\n", p.name, last.commit, last.code, last.date, last.took, p.what)
		}
	}
	return os.WriteFile(r.file, []byte(r.before+recordBegin+table.String()+recordEnd+r.after), 0o644)
}
