package plan

import (
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Originals returns the Route's backends as they would be without session id, with their ready
// servers by slices.
func Originals(r *routev1.Route, id string, slices []discoveryv1.EndpointSlice) (out []route.Backend) {
	own, weights := record.ServiceName(id), record.WeightsOf(r)
	if s := record.Of(r); s != nil && s.Journal != nil {
		weights, _ = record.Originals(r, s.Journal)
	}
	for _, b := range weights.Backends {
		if b.Service != own {
			endpoints := route.Endpoints(r, b.Service, slices)
			out = append(out, route.Backend{Service: b.Service, Weight: b.Weight, Ready: len(endpoints), Pods: route.PodsOf(endpoints)})
		}
	}
	return out
}

// Shift returns the weights of all backends, by Service name, that give a session with so many
// servers the wanted share. It writes the new state into the journal, but not the session's end.
func Shift(j *record.Journal, originals []route.Backend, servers int, percent route.Percent, floor route.Floor) (map[string]int32, error) {
	split, err := route.Weights(originals, servers, percent, floor)
	if err != nil {
		return nil, err
	}
	return applySplit(j, originals, split, floor), nil
}

// applySplit writes a split into the journal and returns its weights by Service name.
func applySplit(j *record.Journal, originals []route.Backend, split route.Split, floor route.Floor) map[string]int32 {
	j.State, j.Realised, j.Failover = record.Live, split.Share.Percent(), floor == route.KeepFloor
	weights := map[string]int32{record.ServiceName(j.Session): split.Sandbox}
	for i, b := range originals {
		weights[b.Service] = split.Originals[i]
	}
	return weights
}

// Armed returns the Route as arming writes it.
func (p *Plan) Armed() (*routev1.Route, error) {
	journal, r := p.Journal, p.Facts.Route.DeepCopy()
	return r, record.ArmRoute(&journal, p.Facts.Route)(r)
}

// Live returns the Route as shifting writes it over an armed one, by the current endpoints. ends is
// the session's end.
func (p *Plan) Live(armed *routev1.Route, ends metav1.Time) (*routev1.Route, error) {
	r, s := armed.DeepCopy(), record.Of(armed)
	if s == nil || s.Journal == nil {
		return nil, fmt.Errorf("route %s/%s is not armed", armed.Namespace, armed.Name)
	}
	journal := *s.Journal
	journal.Expires = ends
	weights := applySplit(&journal, route.Backends(p.Facts.Route, nil), p.Split, p.Floor)
	return r, record.ShiftRoute(&journal, weights, false)(r)
}
