package cluster

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// stopFile returns the path of the file that keeps a component stopped while it exists.
func stopFile(d topology.Dirs, name string) string { return d.In("stopped", name) }

func (spec Spec) isStopped(name string) bool {
	_, err := os.Stat(stopFile(spec.Dirs, name))
	return err == nil
}

// Stop kills a component, as in a crash, and keeps the supervisor from starting it again.
func Stop(d topology.Dirs, name string) error {
	if err := checkComponent(name); err != nil {
		return err
	}
	if err := os.MkdirAll(d.In("stopped"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(stopFile(d, name), nil, 0o644); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // until the supervisor has seen the file
	return nil
}

// Start has the supervisor start a stopped component again.
func Start(d topology.Dirs, name string) error {
	if err := checkComponent(name); err != nil {
		return err
	}
	return os.Remove(stopFile(d, name))
}

// checkComponent returns an error if there is no component of that name.
func checkComponent(name string) error {
	var names []string
	for _, c := range (Spec{}).components() {
		names = append(names, c.name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("unknown component %q: must be one of %s", name, strings.Join(names, ", "))
	}
	return nil
}
