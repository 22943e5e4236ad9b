// Package route knows how an OpenShift router turns a Route into traffic: which
// backends it has, which endpoints of them take part, what share each gets, and which
// weights come nearest to a wanted share. Everything here is a pure function; the
// rules were measured against the real router and read in its source
// (github.com/openshift/router, pkg/router/template).
package route

import (
	routev1 "github.com/openshift/api/route/v1"
)

// Limits of the Route API.
const (
	MaxWeight     = 256
	MaxAlternates = 3
)

// Backend is one Service of a Route.
type Backend struct {
	Service string
	Weight  *int32 // 0..256; nil where the Route does not say
	Ready   int    // HAProxy servers: ready endpoints on the Route's port
}

// Value is the weight that the router uses: 1 where the Route does not say (the API
// stores 100 by default, so that is rare), clamped to 0..256.
func (b Backend) Value() int32 {
	if b.Weight == nil {
		return 1
	}
	return min(max(*b.Weight, 0), MaxWeight)
}

// Backends lists a Route's Services, the primary first. ready tells the number of
// servers of a Service; nil means none is known.
func Backends(r *routev1.Route, ready map[string]int) []Backend {
	out := []Backend{{Service: r.Spec.To.Name, Weight: r.Spec.To.Weight, Ready: ready[r.Spec.To.Name]}}
	for _, a := range r.Spec.AlternateBackends {
		out = append(out, Backend{Service: a.Name, Weight: a.Weight, Ready: ready[a.Name]})
	}
	return out
}

// ServerWeights gives, per Service that has servers, the HAProxy weight of each of
// them. The router divides a Service's weight by its number of servers and scales all
// so that the largest becomes 256, in 32-bit floats, truncating, with 1 as the least
// for a Service that has a weight. Where one Service alone has a weight, its servers
// get 1 and all others 0. (router.go, calculateServiceWeights.)
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

// serverWeights writes the weights in the order of the backends, without allocating.
func serverWeights(backends []Backend, out []int32) {
	var top float32
	carriers := 0
	for _, b := range backends {
		if b.Ready > 0 && b.Value() > 0 {
			carriers++
			top = max(top, float32(b.Value())/float32(b.Ready))
		}
	}
	for i, b := range backends {
		switch {
		case b.Ready == 0 || b.Value() == 0:
			out[i] = 0
		case carriers == 1:
			out[i] = 1
		default:
			out[i] = max(int32(float32(b.Value())/float32(b.Ready)*(MaxWeight/top)), 1)
		}
	}
}

// Shares gives the part of new clients, 0..1, that each Service gets. It is empty when
// nothing serves: the router answers 503 then.
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
