package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	want := row{"fdf4555", "0123456789ab", "2026-11-29", "3m0s"}
	r.rows["crash"] = want
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	again, err := readRecord(file)
	if err != nil || len(again.rows) != 1 || again.rows["crash"] != want || again.before != "# before\n" || again.after != "after | a | table\n" {
		t.Errorf("%+v, %v", again, err)
	}
}

// Parts of end-to-end tests share a cluster, and each is recorded. Others run alone.
func TestJoinedParts(t *testing.T) {
	p, err := find("faults+races")
	if err != nil || p.tests != "^TestFaults|^TestTwoUsersAt" || !slices.Equal(p.env, []string{"OSC_DEBUG_SESSIONS=1000", "OSC_DEBUG_RACES=150"}) || !slices.Equal(p.all, []string{"faults", "races"}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"faults+crash", "fuzz+faults", "faults+kills", "thousand+faults", "faults+", "unknown"} {
		if p, err := find(bad); err == nil {
			t.Errorf("%s: %+v", bad, p)
		}
	}
}

// make expands $, so patterns have it twice.
func TestPatternsSurviveMake(t *testing.T) {
	for _, p := range parts {
		if single := strings.ReplaceAll(strings.Join(p.make, " "), "$$", ""); strings.Contains(single, "$") {
			t.Errorf("%s: make would expand %s", p.name, p.make)
		}
	}
}

// The lists of instants make those parts due that use them, and no others.
func TestInstantListsMakeTheirPartsDue(t *testing.T) {
	for name, want := range map[string][2]bool{
		"kills": {true, false}, "guard-kills": {true, false}, "kills-with-pods-shift": {false, true}, "kills-with-pods-others": {false, true},
		"faults": {false, false}, "crash": {false, false},
	} {
		p, err := find(name)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("git", append([]string{"ls-files", "--"}, p.code...)...)
		cmd.Dir = filepath.Join("..", "..")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		files := strings.Fields(string(out))
		has := func(file string) bool { return slices.Contains(files, file) }
		if got := [2]bool{has(instantLists + "/shift.txt"), has(instantLists + "/shift-with-pods.txt")}; got != want {
			t.Errorf("%s depends on the lists without and with pods: %v, want %v", name, got, want)
		}
		if !has("cmd/osc-guard/main.go") || has("test/soak/main.go") {
			t.Errorf("%s: the product makes it due, this command does not", name)
		}
	}
}

// Comments make no part due, code does.
func TestCommentsMakeNoPartDue(t *testing.T) {
	for _, same := range [][2]string{{"a\n\t// b\nc\n", "a\n\t// d\nc\n"}, {"# a\nb: c\n", "# d\nb: c\n"}, {"a\n", "// b\na\n"}} {
		if withoutComments(same[0]) != withoutComments(same[1]) {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
	for _, other := range [][2]string{{"a\n", "b\n"}, {"a\n", "a\n\tb()\n"}, {"#define A 1\n", "#define A 2\n"}, {"// a\nb\n", "// c\nd\n"}, {"a() // b\n", "a() // c\n"}} {
		if withoutComments(other[0]) == withoutComments(other[1]) {
			t.Errorf("%q and %q do not differ", other[0], other[1])
		}
	}
}
