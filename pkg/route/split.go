package route

import (
	"math"
	"slices"
	"sort"

	"github.com/osc-debug/osc-debug/pkg/reason"
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

// Split is a set of weights and what comes of it.
type Split struct {
	Originals []int32 // in the order they were given
	Sandbox   int32
	Share     Share // what the sandbox really gets of new clients
}

// Weights finds the weights that give the sandbox (with ready servers) the wanted
// percentage of new clients. The originals keep their ratio to each other as
// well as weights up to 256 allow. Among all weights the ones are taken whose largest
// error of any Service's share is smallest; on a tie the ones that change the
// originals least, then the smallest.
func Weights(originals []Backend, ready int, percent Percent, floor Floor) (Split, error) {
	before := Shares(originals)
	top := int32(0)
	for _, o := range originals {
		if o.Ready > 0 {
			top = max(top, o.Value())
		}
	}
	switch {
	case ready < 1:
		return Split{}, reason.New(reason.SandboxNotReady)
	case len(before) == 0 || top == 0:
		return Split{}, reason.New(reason.NoTraffic)
	case percent == 0:
		return Split{Originals: values(originals, 1, 1)}, nil
	case percent == 100 && floor == Exact:
		return Split{Originals: make([]int32, len(originals)), Sandbox: 100, Share: 1}, nil
	}
	search := search{originals: originals, ready: ready, wanted: float64(percent.Share()), top: top}
	for _, o := range originals {
		search.before = append(search.before, float64(before[o.Service]))
	}
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
	before    []float64 // shares of the originals now
	top       int32     // largest weight among originals that serve

	backends []Backend // the originals with the weights that are tried, the sandbox last
	weights  []int32   // the router's, of each server
}

// gross is an error of a share that keeping the ratio of backends without servers is not
// worth.
const gross = 0.01

// best is the best plan that keeps the originals' ratio; where a heavy backend without any
// server leaves no room for that, its weight stays behind.
func (s *search) best() Split {
	best, least := s.among(false)
	if least > gross {
		if other, worst := s.among(true); worst < least {
			return other
		}
	}
	return best
}

// among tries every scale of the originals with the weights of the sandbox that can make
// it better than what was found before: its share rises with its weight, a little stumble
// aside, so they are a range. With clamp also those where a backend without servers would weigh too much.
func (s *search) among(clamp bool) (best Split, least float64) {
	least, leastChange := math.Inf(1), int32(math.MaxInt32)
	s.backends, s.weights = append(slices.Clone(s.originals), Backend{Ready: s.ready}), make([]int32, len(s.originals)+1)
	for scale := int32(1); scale <= MaxWeight; scale++ {
		originals := values(s.originals, scale, s.top)
		if over(originals) {
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
		from := sort.Search(MaxWeight-1, func(i int) bool { share, _ := s.judge(int32(i + 1)); return share >= s.wanted-least-stumble })
		for w := int32(from + 1); w <= MaxWeight; w++ {
			share, worst := s.judge(w)
			if share > s.wanted+least+stumble {
				break
			}
			change := abs(scale - s.top)
			if worst < least-tie || worst < least+tie && change < leastChange {
				least, leastChange = worst, change
				best = Split{Originals: originals, Sandbox: w, Share: Share(share)}
			}
		}
	}
	return best, least
}

// tie is the difference of errors that is none.
const tie = 1e-12

// stumble is the most by which a share falls when the sandbox' weight rises: where its servers
// have the largest weight, 32-bit floats make 256 of it, or 255, which is a share of
// s(1-s)/256 less.
const stumble = 0.25 / 256

// judge gives, for a weight of the sandbox, its share and the largest error of any share.
func (s *search) judge(w int32) (share, worst float64) {
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

func over(weights []int32) bool {
	for _, w := range weights {
		if w > MaxWeight {
			return true
		}
	}
	return false
}

func abs(x int32) int32 { return max(x, -x) }
