package workload

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
)

// candidate is a workload some of whose pods are endpoints of the Route.
type candidate struct {
	kind, of string // of the top controller, or of the pod if it has none
	name     string // kind/name, with the kind in lower case
	pods     int    // how many of its pods are endpoints
	first    *Program
	err      error // why it cannot be cloned; first is nil then
}

// candidates returns the workloads whose pods are endpoints of the Route's Service, sorted by name.
func (ns *Namespace) candidates(r *routev1.Route, service string) (out []candidate) {
	serves := map[string]bool{}
	for _, e := range route.Endpoints(r, service, ns.Slices) {
		serves[e.Pod] = true
	}
	pods := slices.DeleteFunc(ns.Behind(service), func(pod corev1.Pod) bool { return !serves[pod.Name] || !IsReady(&pod) })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for _, pod := range pods {
		c := candidate{pods: 1}
		c.first, c.err = ns.programOf(pod)
		if c.err == nil {
			c.kind, c.of = c.first.Kind, c.first.Name
		} else {
			c.kind, c.of = topController(kindPod, &pod)
		}
		c.name = strings.ToLower(c.kind) + "/" + c.of
		if i := slices.IndexFunc(out, func(o candidate) bool { return o.name == c.name }); i >= 0 {
			out[i].pods++
			continue
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b candidate) int { return strings.Compare(a.name, b.name) })
	return out
}

// program returns the candidate's program, or why it cannot be cloned.
func (c candidate) program(r *routev1.Route) (*Program, error) {
	if c.err != nil {
		return nil, fmt.Errorf("route %s/%s: %w", r.Namespace, r.Name, c.err)
	}
	c.first.Ready = c.pods
	return c.first, nil
}

// most returns the candidate with the most pods that can be cloned, the first of several.
func most(all []candidate) candidate {
	return slices.MaxFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(isClonable(a), isClonable(b)), cmp.Compare(a.pods, b.pods))
	})
}

func isClonable(c candidate) int {
	if c.err != nil {
		return 0
	}
	return 1
}

// describe lists workloads for a message.
func describe(all []candidate) string {
	var out []string
	for _, c := range all {
		out = append(out, fmt.Sprintf("%s (%d pod(s))", c.name, c.pods))
	}
	return strings.Join(out, ", ")
}
