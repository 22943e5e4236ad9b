package route

import (
	"math"
	"slices"
	"sort"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Floor selects what share the originals keep at 100 percent.
type Floor int

const (
	// KeepFloor leaves the originals the smallest share that the router allows, so that the router can
	// fail over to them if its health checks of the sandbox fail.
	KeepFloor Floor = iota
	// Exact sets the originals' weight to 0. The router then has no failover.
	Exact
)

// Split is a set of weights and the share that results.
type Split struct {
	Originals []int32 // 0..256, in the order of the originals
	Sandbox   int32   // 0..256
	Share     Share   // the sandbox's actual share of new clients
}

// Weights returns the weights that give the sandbox, which has ready servers, percent of the new
// clients. The originals keep their ratio to each other as well as weights up to 256 allow. Of all
// such weights, it returns those with the smallest maximum error of any Service's share; among equals
// those that change the originals least, then the smallest. The error has reason SandboxNotReady if
// ready is less than 1, and NoTraffic if no original serves.
func Weights(originals []Backend, ready int, percent Percent, floor Floor) (Split, error) {
	before := Shares(originals)
	largest := int32(0)
	for _, o := range originals {
		if o.Ready > 0 {
			largest = max(largest, o.Value())
		}
	}
	switch {
	case ready < 1:
		return Split{}, reason.New(reason.SandboxNotReady)
	case len(before) == 0 || largest == 0:
		return Split{}, reason.New(reason.NoTraffic)
	case percent == 0:
		return Split{Originals: scaledWeights(originals, 1, 1)}, nil
	case percent == 100 && floor == Exact:
		return Split{Originals: make([]int32, len(originals)), Sandbox: 100, Share: 1}, nil
	}
	search := search{originals: originals, ready: ready, wanted: float64(percent.Share()), largest: largest}
	for _, o := range originals {
		search.before = append(search.before, float64(before[o.Service]))
	}
	return search.best(), nil
}

// scaledWeights returns the originals' weights multiplied by num/den and rounded, at least 1 for a
// weight above 0.
func scaledWeights(originals []Backend, num, den int32) []int32 {
	out := make([]int32, len(originals))
	for i, o := range originals {
		w := o.Value()
		if w > 0 {
			out[i] = max((w*num+den/2)/den, 1)
		}
	}
	return out
}

// search looks for the best weights.
type search struct {
	originals []Backend
	ready     int       // servers of the sandbox
	wanted    float64   // share of the sandbox
	before    []float64 // current shares of the originals
	largest   int32     // largest weight among originals that serve

	backends []Backend // the originals with the weights being tried, then the sandbox
	weights  []int32   // the router's weight of each server, by backend
}

// maxRatioError is the share error above which the ratio of backends without servers is given up.
const maxRatioError = 0.01

// best returns the best split that keeps the originals' ratio. If the weight of a backend without
// servers makes that too inaccurate, this weight is limited to 256.
func (s *search) best() Split {
	best, least := s.tryScales(false)
	if least > maxRatioError {
		if clamped, worst := s.tryScales(true); worst < least {
			return clamped
		}
	}
	return best
}

// tryScales tries every scale of the originals' weights, each with all weights of the sandbox that can
// improve on the best split so far. These are a range, because the sandbox's share rises with its
// weight, except for dips of up to maxDip. With clamp, weights above 256 are reduced to 256; without
// it, scales with such weights are skipped. It returns the best split and its largest error.
func (s *search) tryScales(clamp bool) (best Split, least float64) {
	least, leastChange := math.Inf(1), int32(math.MaxInt32)
	s.backends, s.weights = append(slices.Clone(s.originals), Backend{Ready: s.ready}), make([]int32, len(s.originals)+1)
	for scale := int32(1); scale <= MaxWeight; scale++ {
		originals := scaledWeights(s.originals, scale, s.largest)
		if exceedMax(originals) {
			if !clamp {
				continue
			}
			for i := range originals {
				originals[i] = min(originals[i], MaxWeight)
			}
		}
		for i := range originals {
			s.backends[i].Weight = &originals[i]
		}
		from := sort.Search(MaxWeight-1, func(i int) bool { share, _ := s.evaluate(int32(i + 1)); return share >= s.wanted-least-maxDip })
		for w := int32(from + 1); w <= MaxWeight; w++ {
			share, worst := s.evaluate(w)
			if share > s.wanted+least+maxDip {
				break
			}
			change := abs(scale - s.largest)
			if worst < least-tolerance || worst < least+tolerance && change < leastChange {
				least, leastChange = worst, change
				best = Split{Originals: originals, Sandbox: w, Share: Share(share)}
			}
		}
	}
	return best, least
}

// tolerance is the difference up to which two errors count as equal.
const tolerance = 1e-12

// maxDip is the most by which the sandbox's share can fall when its weight rises by 1. If its servers
// have the largest weight, 32-bit floats scale that to 256 or 255; with 255 its share s is lower by
// s(1-s)/256.
const maxDip = 0.25 / 256

// evaluate returns, for weight w of the sandbox, its share and the largest error of any share.
func (s *search) evaluate(w int32) (share, worst float64) {
	last := len(s.backends) - 1
	s.backends[last].Weight = &w
	serverWeights(s.backends, s.weights)
	total := 0.0
	for i, b := range s.backends {
		total += float64(s.weights[i]) * float64(b.Ready)
	}
	share = float64(s.weights[last]) * float64(s.ready) / total
	worst = math.Abs(share - s.wanted)
	for i, b := range s.backends[:last] {
		ideal := (1 - s.wanted) * s.before[i]
		worst = max(worst, math.Abs(float64(s.weights[i])*float64(b.Ready)/total-ideal))
	}
	return share, worst
}

func exceedMax(weights []int32) bool {
	for _, w := range weights {
		if w > MaxWeight {
			return true
		}
	}
	return false
}

func abs(x int32) int32 { return max(x, -x) }
