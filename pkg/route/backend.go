// Package route models how an OpenShift router distributes a Route's traffic: the Route's backends,
// the endpoints of each that get traffic, each backend's share, and the weights that come closest to
// a wanted share. Its functions are pure. The rules are those of the router's source
// (github.com/openshift/router, pkg/router/template), checked against the real router.
package route

import (
	routev1 "github.com/openshift/api/route/v1"
)

// Limits of the Route API.
const (
	MaxWeight     = 256 // of a backend
	MaxAlternates = 3   // alternate backends
)

// Backend is one Service of a Route.
type Backend struct {
	Service string
	Weight  *int32 // 0..256; nil if the Route does not set it
	Ready   int    // number of HAProxy servers: ready endpoints on the Route's port
	Pods    int    // number of pods that these servers are; 0 if unknown
}

// pods returns the number of pods that serve. Without it, each server counts as one.
func (b Backend) pods() int {
	if b.Pods == 0 {
		return b.Ready
	}
	return b.Pods
}

// Value returns the weight that the router uses: clamped to 0..256, and 1 if the Route does not set it,
// which is rare because the API server defaults it to 100.
func (b Backend) Value() int32 {
	if b.Weight == nil {
		return 1
	}
	return min(max(*b.Weight, 0), MaxWeight)
}

// Backends returns a Route's backends, the primary first. ready maps Services to their number of
// servers; a Service that is not in it has none.
func Backends(r *routev1.Route, ready map[string]int) []Backend {
	out := []Backend{{Service: r.Spec.To.Name, Weight: r.Spec.To.Weight, Ready: ready[r.Spec.To.Name]}}
	for _, a := range r.Spec.AlternateBackends {
		out = append(out, Backend{Service: a.Name, Weight: a.Weight, Ready: ready[a.Name]})
	}
	return out
}

// ServerWeights returns, for each Service with servers, the HAProxy weight of each of its servers. The
// router divides a Service's weight by its number of servers and scales the results so that the
// largest becomes 256. It does so in 32-bit floats and truncates; a Service with a weight above 0 gets
// at least 1. If only one Service has a weight above 0, its servers get 1 and all others 0.
// Source: router.go, calculateServiceWeights.
func ServerWeights(backends []Backend) map[string]int32 {
	weights := make([]int32, len(backends))
	serverWeights(backends, weights)
	out := make(map[string]int32, len(backends))
	for i, b := range backends {
		if b.Ready > 0 {
			out[b.Service] = weights[i]
		}
	}
	return out
}

// serverWeights writes the server weights to out, in the order of backends, without allocating.
func serverWeights(backends []Backend, out []int32) {
	var largest float32
	serving := 0
	for _, b := range backends {
		if b.Ready > 0 && b.Value() > 0 {
			serving++
			largest = max(largest, float32(b.Value())/float32(b.Ready))
		}
	}
	for i, b := range backends {
		switch {
		case b.Ready == 0 || b.Value() == 0:
			out[i] = 0
		case serving == 1:
			out[i] = 1
		default:
			out[i] = max(int32(float32(b.Value())/float32(b.Ready)*(MaxWeight/largest)), 1)
		}
	}
}

// Shares returns each Service's share of new clients. It is empty if no backend serves: the router then
// answers 503.
func Shares(backends []Backend) map[string]Share {
	weights := ServerWeights(backends)
	total := 0.0
	for _, b := range backends {
		total += float64(weights[b.Service]) * float64(b.Ready)
	}
	out := map[string]Share{}
	if total == 0 {
		return out
	}
	for _, b := range backends {
		out[b.Service] = Share(float64(weights[b.Service]) * float64(b.Ready) / total)
	}
	return out
}
