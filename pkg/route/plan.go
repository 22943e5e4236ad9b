package route

import (
	"fmt"
	"math"
)

// Floor says what the originals keep at 100 percent.
type Floor int

const (
	// KeepFloor leaves the originals the smallest share the router allows, so that its
	// health checks have somewhere to go when the sandbox fails.
	KeepFloor Floor = iota
	// Exact lets the originals go to weight 0. The router then has no failover.
	Exact
)

// Plan is a set of weights and what comes of it.
type Plan struct {
	Originals []int32 // in the order they were given
	Sandbox   int32
	Share     float64 // 0..1, what the sandbox really gets of new clients
}

// Weights finds the weights that give the sandbox (with ready servers) the wanted
// percentage, 0..100, of new clients. The originals keep their ratio to each other as
// well as weights up to 256 allow. Among all weights the ones are taken whose largest
// error of any Service's share is smallest; on a tie the ones that change the
// originals least, then the smallest.
func Weights(originals []Backend, ready int, percent float64, floor Floor) (Plan, error) {
	before := Shares(originals)
	top := int32(0)
	for _, o := range originals {
		if o.Ready > 0 {
			top = max(top, o.Value())
		}
	}
	switch {
	case percent < 0 || percent > 100 || math.IsNaN(percent):
		return Plan{}, fmt.Errorf("weight %v: give a percentage from 0 to 100", percent)
	case ready < 1:
		return Plan{}, fmt.Errorf("the sandbox has no ready server")
	case len(before) == 0 || top == 0:
		return Plan{}, fmt.Errorf("no backend of the Route carries traffic now: nothing can be shifted")
	case percent == 0:
		return Plan{Originals: values(originals, 1, 1)}, nil
	case percent == 100 && floor == Exact:
		return Plan{Originals: make([]int32, len(originals)), Sandbox: 100, Share: 1}, nil
	}
	wanted := percent / 100
	search := search{originals: originals, ready: ready, wanted: wanted, before: before, top: top}
	return search.best(), nil
}

// values scales the originals' weights by num/den, rounding; who had a weight keeps
// at least 1.
func values(originals []Backend, num, den int32) []int32 {
	out := make([]int32, len(originals))
	for i, o := range originals {
		w := o.Value()
		if w > 0 {
			out[i] = max((w*num+den/2)/den, 1)
		}
	}
	return out
}

type search struct {
	originals []Backend
	ready     int
	wanted    float64
	before    map[string]float64
	top       int32 // largest weight among originals that serve
}

// best tries every scale of the originals with every weight of the sandbox: 65,536
// pairs, a few milliseconds.
func (s search) best() Plan {
	var best Plan
	least, leastChange := math.Inf(1), int32(math.MaxInt32)
	backends := make([]Backend, len(s.originals)+1)
	copy(backends, s.originals)
	sandbox := &backends[len(s.originals)]
	weights := make([]int32, len(backends))
	for scale := int32(1); scale <= MaxWeight; scale++ {
		originals := values(s.originals, scale, s.top)
		if over(originals) {
			continue
		}
		for i := range originals {
			backends[i].Weight = &originals[i]
		}
		for w := int32(1); w <= MaxWeight; w++ {
			*sandbox = Backend{Weight: &w, Ready: s.ready}
			share, worst := s.judge(backends, weights)
			change := abs(scale - s.top)
			if worst < least-1e-12 || worst < least+1e-12 && change < leastChange {
				least, leastChange = worst, change
				best = Plan{Originals: originals, Sandbox: w, Share: share}
			}
		}
	}
	return best
}

// judge gives the sandbox's share (the last backend) and the largest error of any share.
func (s search) judge(backends []Backend, weights []int32) (share, worst float64) {
	serverWeights(backends, weights)
	total := 0.0
	for i, b := range backends {
		total += float64(weights[i]) * float64(b.Ready)
	}
	last := len(backends) - 1
	share = float64(weights[last]) * float64(s.ready) / total
	worst = math.Abs(share - s.wanted)
	for i, b := range backends[:last] {
		ideal := (1 - s.wanted) * s.before[b.Service]
		worst = max(worst, math.Abs(float64(weights[i])*float64(b.Ready)/total-ideal))
	}
	return share, worst
}

func over(weights []int32) bool {
	for _, w := range weights {
		if w > MaxWeight {
			return true
		}
	}
	return false
}

func abs(x int32) int32 { return max(x, -x) }
