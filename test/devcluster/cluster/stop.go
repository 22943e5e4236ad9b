package cluster

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// A component is stopped while a file of its name is in folder stopped.
func stopFile(d topology.Dirs, name string) string { return d.In("stopped", name) }

func (spec Spec) isStopped(name string) bool {
	_, err := os.Stat(stopFile(spec.Dirs, name))
	return err == nil
}

// Stop kills a component, as a crash does, and keeps it from being started again.
func Stop(d topology.Dirs, name string) error {
	if err := known(name); err != nil {
		return err
	}
	if err := os.MkdirAll(d.In("stopped"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(stopFile(d, name), nil, 0o644); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // until the supervisor has seen it
	return nil
}

// Start lets a stopped component run again.
func Start(d topology.Dirs, name string) error {
	if err := known(name); err != nil {
		return err
	}
	return os.Remove(stopFile(d, name))
}

func known(name string) error {
	var names []string
	for _, c := range (Spec{}).components() {
		names = append(names, c.name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("%q is no component: %v", name, names)
	}
	return nil
}
