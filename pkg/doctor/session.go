package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/trace"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// probeTimeout bounds how long a sandbox may take to answer.
const probeTimeout = time.Minute

// LookInto checks the sandbox of a session: which gadgets work there, and whether its program runs under the same
// seccomp mode as the original's.
func (d *Doctor) LookInto(ctx context.Context, e exec.Client, found session.Found, t session.Target, report func(Finding)) error {
	original := d.originalSeccomp(ctx, e, found, t.Container)
	for _, pod := range slices.Sorted(maps.Keys(t.Pods)) {
		probing, cancel := context.WithTimeout(ctx, probeTimeout)
		probe, err := trace.Probe(probing, e, t.Namespace, pod, t.Container, t.Pods[pod])
		cancel()
		if err != nil {
			f, err := d.newFinding(ctx, pod+": probe", "", err)
			if err != nil {
				return err
			}
			report(f)
			continue
		}
		for _, name := range gadget.Names() {
			f, err := d.newFinding(ctx, pod+": "+name, describeGadget(probe.Gadgets[name], probe.Kernel), gadgetError(name, probe.Gadgets[name]))
			if err != nil {
				return err
			}
			report(f)
		}
		f, err := d.newFinding(ctx, pod+": seccomp", fmt.Sprintf("mode %s, as the original's", probe.Seccomp), original.compare(probe.Seccomp))
		if err != nil {
			return err
		}
		report(f)
	}
	return nil
}

// describeGadget says how a gadget sees events.
func describeGadget(s frame.Status, kernel string) string {
	text := fmt.Sprintf("by %s of kernel %s", s.Tier, kernel)
	if s.Reason != "" {
		text += "; " + s.Reason
	}
	return text
}

// gadgetError returns why a gadget does not work, or not wholly.
func gadgetError(name string, s frame.Status) error {
	switch s.State {
	case frame.Works:
		return nil
	case frame.Degraded:
		return asWarning(reason.New(reason.GadgetDegraded, "gadget", name, "why", s.Reason))
	}
	return asWarning(reason.New(reason.GadgetUnavailable, "gadget", name, "why", s.Reason))
}

// seccomp is the seccomp mode of the original's program, or why it is not known.
type seccomp struct {
	mode string
	err  error
}

// compare returns how the mode of the sandbox's program differs.
func (s seccomp) compare(mode string) error {
	switch {
	case s.err != nil:
		return asUnknown(reason.New(reason.SeccompNotRead, "mode", mode, "why", s.err))
	case s.mode != mode:
		return asWarning(reason.New(reason.SeccompDiffers, "mode", mode, "original", s.mode))
	}
	return nil
}

// originalSeccomp reads the seccomp mode in a pod of the original.
func (d *Doctor) originalSeccomp(ctx context.Context, e exec.Client, found session.Found, container string) seccomp {
	list, err := d.Core.DiscoveryV1().EndpointSlices(found.Route.Namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return seccomp{err: fmt.Errorf("list EndpointSlices: %w", err)}
	}
	servers := route.Endpoints(found.Route, found.Route.Spec.To.Name, list.Items)
	i := slices.IndexFunc(servers, func(e route.Endpoint) bool { return e.Pod != "" })
	if i < 0 {
		return seccomp{err: fmt.Errorf("service %s has no pod that is ready", found.Route.Spec.To.Name)}
	}
	probing, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	mode, err := trace.Seccomp(probing, e, found.Route.Namespace, servers[i].Pod, container)
	return seccomp{mode, err}
}
