// Command bench takes the project's figures on the local cluster and prints each with
// its target and verdict; it exits 1 on a miss. Its argument names what is measured.
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

// parts are what can be measured, by the argument that asks for it.
var parts = map[string]func(*bench) error{
	"program": (*bench).program, // size and start of the command
	"shares":  (*bench).shares,  // asked against counted shares
	"byhand":  (*bench).compare, // a session against the same steps by hand
	"cluster": (*bench).cluster, // starting and ending the local cluster
	"cold":    (*bench).cold,    // the same with nothing built yet
	"soak":    (*bench).soak,    // ten sessions in a row under load
	"crash":   (*bench).crash,   // the sandbox' program killed under load, 20 times
	"outage":  (*bench).outage,  // API server and etcd away while a session runs and ends
	"node":    (*bench).node,    // the sandbox' node dies
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
	said   chan []string // what the last session's command told
}

func (b *bench) run(names []string) error {
	var err error
	if b.Cluster, err = sample.FromEnvironment(); err != nil {
		return err
	}
	for _, name := range names {
		part, ok := parts[name]
		if !ok {
			return fmt.Errorf("%q: known are %s", name, strings.Join(slices.Sorted(maps.Keys(parts)), ", "))
		}
		if err := part(b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// judge prints a figure and remembers a miss.
func (b *bench) judge(what string, ok bool, got, target string) {
	verdict := "met"
	if !ok {
		verdict, b.missed = "MISSED", true
	}
	fmt.Printf("%-66s %-30s target %-22s %s\n", what, got, target, verdict)
}
