//go:build kernels

package kernels

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/osc-debug/osc-debug/test/devcluster/build"
)

var (
	all    = flag.Bool("all", false, "boot all kernels instead of one that is chosen at random")
	update = flag.Bool("update", false, "with -all: write docs/kernels.md instead of comparing with it")
)

// releases are the Debian releases whose kernels are booted, the oldest kernel first.
var releases = []string{"bullseye", "bookworm", "trixie"}

// conditions are the states of a kernel in which the gadgets are probed: names in init.sh, and what they mean.
var conditions = []struct{ name, meaning string }{
	{"all", "as Debian configures them"},
	{"without-types", "without the kernel's types (BTF)"},
	{"locked-down", "with lockdown=confidentiality"},
}

// probe is what the tracer found in a VM: see pkg/trace/frame.
type probe struct {
	Kernel  string
	Gadgets map[string]struct{ State, Reason, Tier string }
}

// Each gadget sees what it should on each kernel, and the table in docs/kernels.md is right.
func TestGadgetsOnKernels(t *testing.T) {
	b, err := build.New(os.Stderr)
	ok(t, err)
	ok(t, build.EnsurePackages(t.Context(), os.Stderr))
	tracer, err := b.Program(t.Context(), b.Root(), "./cmd/osc-tracer")
	ok(t, err)
	tests := filepath.Join(t.TempDir(), "gadget.test")
	compile := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "kernels", "-o", tests, "./sidecar/gadget")
	compile.Dir, compile.Env = b.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	field := filepath.Join(t.TempDir(), "field")
	compile = exec.CommandContext(t.Context(), "cc", "-static", "-O1", "-pthread", "-o", field, "sidecar/gadget/testdata/field.c")
	compile.Dir = b.Root()
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	chosen := releases
	if !*all {
		one := rand.N(len(releases))
		chosen = releases[one : one+1]
	}
	probes := map[string]map[string]probe{} // by release and condition
	for _, release := range chosen {
		t.Run(release, func(t *testing.T) {
			kernel, err := b.KernelOf(t.Context(), release)
			ok(t, err)
			console, err := vm{kernel: kernel, programs: map[string]string{"/gadget.test": tests, "/osc-tracer": tracer, "/field": field}}.run(t.Context(), t.TempDir())
			if err != nil {
				t.Fatalf("%v\n%s", err, console)
			}
			if probes[release] = parse(t, console); t.Failed() {
				t.Log(console)
			}
		})
	}
	if t.Failed() {
		return
	}
	path := filepath.Join(b.Root(), "docs", "kernels.md")
	if *all && *update {
		ok(t, os.WriteFile(path, []byte(table(probes)), 0o644))
	}
	checkTable(t, path, probes)
}

// onlyInVM are tests of the gadgets that run in a VM only.
var onlyInVM = []string{"TestOOMSeesTheVictim", "TestCallsOfThe32BitTable", "TestTheClockIsSetMeanwhile"}

// parse returns the probes, by condition, and checks that the gadgets' tests have passed.
func parse(t *testing.T, console string) map[string]probe {
	t.Helper()
	out := map[string]probe{}
	passed, captures := false, 0
	for line := range strings.Lines(console) {
		name, text, isOurs := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "vm: "), " ")
		switch {
		case !strings.HasPrefix(line, "vm: ") || !isOurs:
		case name == "tests":
			passed = text == "0"
		case strings.HasPrefix(name, "captured-"):
			captures++
			var c struct {
				Counted map[string]struct{ Received, Dropped, Delivered int }
			}
			if err := json.Unmarshal([]byte(text), &c); err != nil || c.Counted["lo"].Received != 10 || c.Counted["lo"].Delivered != 10 {
				t.Errorf("%s: %v: %s, want 10 packets", name, err, text)
			}
		default:
			var p probe
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Errorf("%s: %v: %s", name, err, text)
			}
			out[name] = p
		}
	}
	if !passed || slices.ContainsFunc(onlyInVM, func(test string) bool { return !strings.Contains(console, "--- PASS: "+test) }) || len(out) != len(conditions) || captures != len(conditions) {
		t.Errorf("tests passed: %t; %d probes; %d captures", passed, len(out), captures)
	}
	for name, s := range out["all"].Gadgets {
		if s.State != "works" {
			t.Errorf("gadget %s: %+v", name, s)
		}
	}
	return out
}

// cell says how a gadget works on a kernel.
func cell(p probe, gadget string) string {
	s := p.Gadgets[gadget]
	if s.State == "unavailable" {
		return "–"
	}
	text := s.Tier
	if s.State != "works" {
		text += ", " + s.State
	}
	return text
}

// version returns the first two numbers of a kernel's version.
func version(p probe) string {
	numbers := strings.SplitN(p.Kernel, ".", 3)
	return strings.Join(numbers[:min(2, len(numbers))], ".")
}

// table returns docs/kernels.md.
func table(probes map[string]map[string]probe) string {
	var out strings.Builder
	fmt.Fprint(&out, `# Gadgets on kernels

Which gadgets work on which kernel, and how they see events ("–": the gadget is not available, and says why). The gadgets'
tests ran on each kernel in a VM; those of all gadgets passed. The page is made by 'make kernels ARGS="-all -update"'; 'make
test' boots one of the kernels, chosen at random, and compares.

RHEL 9's kernel (5.14.0-….el9), which OpenShift's nodes and so its sandboxes run, is not among them: Debian does not have it.
Kata's own guest kernel is configured without tracing (BPF events and types are in its debug configuration only): expect the
column without types there.

'osc-debug capture' needs no tracing: it captured all packets on each of these kernels, without types and locked down too.
`)
	for _, c := range conditions {
		fmt.Fprintf(&out, "\n## Kernels %s\n\n| gadget |", c.meaning)
		for _, release := range releases {
			fmt.Fprintf(&out, " %s (Debian %s) |", version(probes[release][c.name]), release)
		}
		fmt.Fprintf(&out, "\n|---|%s\n", strings.Repeat("---|", len(releases)))
		for _, gadget := range slices.Sorted(maps.Keys(probes[releases[0]][c.name].Gadgets)) {
			fmt.Fprintf(&out, "| `%s` |", gadget)
			for _, release := range releases {
				fmt.Fprintf(&out, " %s |", cell(probes[release][c.name], gadget))
			}
			fmt.Fprintln(&out)
		}
	}
	return out.String()
}

// checkTable compares the columns of the kernels that were booted.
func checkTable(t *testing.T, path string, probes map[string]map[string]probe) {
	t.Helper()
	text, err := os.ReadFile(path)
	ok(t, err)
	for _, c := range conditions {
		_, part, _ := strings.Cut(string(text), "\n## Kernels "+c.meaning+"\n")
		part, _, _ = strings.Cut(part, "\n## ")
		for column, release := range releases {
			p, ran := probes[release][c.name]
			if !ran {
				continue
			}
			for gadget := range p.Gadgets {
				_, row, _ := strings.Cut(part, "| `"+gadget+"` |")
				row, _, _ = strings.Cut(row, "\n")
				if cells := strings.Split(row, "|"); len(cells) <= column || strings.TrimSpace(cells[column]) != cell(p, gadget) {
					t.Errorf("kernel %s %s: %s is %q, docs/kernels.md has%s", p.Kernel, c.meaning, gadget, cell(p, gadget), row)
				}
			}
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
