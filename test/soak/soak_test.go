package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A written record can be read again, and the text around the table is kept.
func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reliability.md")
	if err := os.WriteFile(file, []byte("# before\n"+recordBegin+recordEnd+"after | a | table\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := readRecord(file)
	if err != nil || len(r.rows) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	want := row{"fdf4555", "2026-11-29", "3m0s"}
	r.rows["crash"] = want
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	again, err := readRecord(file)
	if err != nil || len(again.rows) != 1 || again.rows["crash"] != want || again.before != "# before\n" || again.after != "after | a | table\n" {
		t.Errorf("%+v, %v", again, err)
	}
}
