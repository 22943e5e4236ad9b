// Command bench measures the project's figures on the local cluster and prints each with its target
// and verdict. Its arguments name what to measure. It exits with 1 if a figure misses its target.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/osc-debug/osc-debug/test/sample"
)

// parts are the measurements, by the argument that selects them.
var parts = map[string]func(*bench) error{
	"program": (*bench).program, // size and start of the command
	"shares":  (*bench).shares,  // requested share compared with the counted one
	"byhand":  (*bench).compare, // a session compared with the same steps by hand
	"cluster": (*bench).cluster, // start and stop of the local cluster
	"cold":    (*bench).cold,    // start of the cluster with nothing built yet
	"soak":    (*bench).soak,    // ten sessions in a row under load
	"crash":   (*bench).crash,   // the sandbox's program is killed under load, 20 times
	"outage":  (*bench).outage,  // the API server and etcd are down while a session runs and ends
	"node":    (*bench).node,    // the sandbox's node dies
	"steps":   (*bench).steps,   // 5, 25, 100 percent of a StatefulSet while others change things
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx}
	if err := b.run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if b.missed {
		os.Exit(1)
	}
}

type bench struct {
	sample.Cluster
	ctx    context.Context
	missed bool
	output chan []string // the last session's standard error in lines, once its command has ended
}

func (b *bench) run(names []string) error {
	var err error
	if b.Cluster, err = sample.FromEnvironment(); err != nil {
		return err
	}
	for _, name := range names {
		part, ok := parts[name]
		if !ok {
			return fmt.Errorf("unknown measurement %q: must be one of %s", name, strings.Join(slices.Sorted(maps.Keys(parts)), ", "))
		}
		if err := part(b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// judge prints a figure with its target and verdict, and notes a miss for the exit code.
func (b *bench) judge(what string, ok bool, got, target string) {
	verdict := "met"
	if !ok {
		verdict, b.missed = "MISSED", true
	}
	fmt.Printf("%-66s %-30s target %-22s %s\n", what, got, target, verdict)
}
