package tracer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/sidecar/gadget"
	"github.com/osc-debug/osc-debug/sidecar/target"
)

// Probe attaches each gadget, detaches it again, and returns what works in this sandbox. If containerID is not empty, it
// also returns the seccomp mode of that container's program.
func Probe(containerID, containerName string) (out frame.Probe, err error) {
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return out, fmt.Errorf("uname: %w", err)
	}
	out.Kernel, out.Gadgets = unix.ByteSliceToString(host.Release[:]), map[string]frame.Status{}
	t, err := target.All("/proc")
	if err != nil {
		return out, err
	}
	starter, err := gadget.NewStarter(t)
	if err != nil {
		return out, err
	}
	for _, d := range describe.All() {
		g, status := start(starter, d)
		out.Gadgets[d.Name] = status
		if g != nil {
			err = errors.Join(err, g.Close())
		}
	}
	if err != nil || containerID == "" {
		return out, err
	}
	if !validID.MatchString(containerID) || !validName.MatchString(containerName) {
		return out, errInvalidContainer
	}
	out.Seccomp, err = target.Seccomp("/proc", containerID, containerName)
	return out, err
}

// errInvalidContainer is the error of a request whose container has an invalid ID or name.
var errInvalidContainer = errors.New("the container's ID or name is invalid")

// start starts a gadget and returns its status. The gadget is nil if it is unavailable.
func start(s *gadget.Starter, d describe.Gadget) (*gadget.Running, frame.Status) {
	g, err := s.Start(d)
	if err != nil {
		return nil, frame.Status{State: frame.Unavailable, Reason: err.Error()}
	}
	var lacks []string
	if d.Unseen != "" {
		lacks = append(lacks, "does not see "+d.Unseen)
	}
	if g.Lacks != "" {
		lacks = append(lacks, g.Lacks)
	}
	return g, frame.Status{State: g.State(), Tier: g.Tier, Reason: strings.Join(lacks, "; ")}
}
