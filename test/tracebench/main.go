// Command tracebench measures the tracer beside Debian's bpftrace, libbpf-tools and strace: on this machine's kernel, with
// the same work, each in turn, several times. It prints each figure with its target and verdict, and exits with 1 if a
// figure misses its target. It must run as root.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// insideKey is set in the process that runs in namespaces of its own: the tracer sees that PID namespace only.
const insideKey = "TRACEBENCH_INSIDE"

func main() {
	rounds := flag.Int("rounds", 5, "how often to measure")
	output := flag.String("json", "", "file to write all figures to")
	work := flag.String("work", "", "do this work instead of measuring")
	flag.Parse()
	if *work != "" {
		doWork(*work)
		return
	}
	if err := run(*rounds, *output, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "tracebench:", err)
		os.Exit(1)
	}
}

func run(rounds int, output string, names []string) error {
	if os.Getenv(insideKey) == "" {
		return enter()
	}
	for at, kind := range map[string]string{"/proc": "proc", "/sys/kernel/tracing": "tracefs"} { // the peers need the second
		if err := syscall.Mount(kind, at, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	dir, err := os.MkdirTemp("", "tracebench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, rounds: rounds}
	if err := b.build(); err != nil {
		return err
	}
	for _, m := range measurements {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		if err := m.measure(b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if output != "" {
		text, err := json.MarshalIndent(b.figures, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(output, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if b.missed > 0 {
		return fmt.Errorf("%d figures miss their targets", b.missed)
	}
	return nil
}

// enter runs this program again in a PID and mount namespace of its own.
func enter() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	inside := exec.Command(self, os.Args[1:]...)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	inside.Env = append(os.Environ(), insideKey+"=1")
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS}
	return inside.Run()
}

// measurements are all of them, in the order in which they run.
var measurements = []struct {
	name    string
	measure func(*bench) error
}{
	{"calls", (*bench).calls},
	{"histogram", (*bench).histogram},
	{"opens", (*bench).opens},
	{"record", (*bench).record},
	{"attach", (*bench).attach},
}

// figure is one result.
type figure struct {
	What    string    `json:"what"`
	Got     string    `json:"got"`
	Target  string    `json:"target"`
	Met     bool      `json:"met"`
	Seconds []float64 `json:"seconds,omitempty"` // of each round, where the figure is made of times
}

// bench is a run.
type bench struct {
	dir     string // for programs and output
	rounds  int
	figures []figure
	missed  int
}

// build builds the tracer.
func (b *bench) build() error {
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.tracer(), "./cmd/osc-tracer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tracer: %w: %s", err, out)
	}
	return nil
}

func (b *bench) tracer() string { return b.dir + "/osc-tracer" }

// judge prints a figure with its verdict.
func (b *bench) judge(f figure) {
	verdict := "met"
	if !f.Met {
		verdict = "MISSED"
		b.missed++
	}
	b.figures = append(b.figures, f)
	fmt.Printf("%-74s %-22s target %-16s %s\n", f.What, f.Got, f.Target, verdict)
}

// median returns the middle of several times, in seconds.
func median(times []time.Duration) float64 {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2].Seconds()
}

// seconds returns times in seconds.
func seconds(times []time.Duration) []float64 {
	var out []float64
	for _, t := range times {
		out = append(out, t.Seconds())
	}
	return out
}

// list joins the names of missing programs.
func list(names []string) string { return strings.Join(names, ", ") }
