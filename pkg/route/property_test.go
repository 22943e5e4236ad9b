package route

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// routesTried is how many random Routes the properties are checked on.
const routesTried = 100_000

// anyOriginals makes up to three backends, of which one at least carries traffic.
func anyOriginals(random *rand.Rand) []Backend {
	for {
		var out []Backend
		serving := false
		for i := range 1 + random.IntN(3) {
			b := Backend{Service: string(rune('a' + i)), Ready: random.IntN(8)}
			switch random.IntN(6) {
			case 0: // not set
			case 1:
				b.Weight = ptr[int32](0)
			default:
				b.Weight = ptr(int32(random.IntN(MaxWeight + 1)))
			}
			serving = serving || b.Ready > 0 && b.Value() > 0
			out = append(out, b)
		}
		if serving {
			return out
		}
	}
}

func anyPercent(random *rand.Rand) float64 {
	switch random.IntN(8) {
	case 0:
		return 0
	case 1:
		return 100
	case 2:
		return random.Float64()
	}
	return 100 * random.Float64()
}

// Over random backends: weights are 0 to 256, whoever had none gets none, whoever had one
// keeps one unless everything goes to the sandbox, others keep their ratio to within the
// rounding of whole weights, and the share that is told is the router's.
func TestWeightsOfAnyRoute(t *testing.T) {
	var running sync.WaitGroup
	lanes := runtime.NumCPU()
	for lane := range lanes {
		running.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(lane)))
			for n := range (routesTried + lanes - 1) / lanes {
				originals, ready, percent, floor := anyOriginals(random), 1+random.IntN(5), anyPercent(random), Floor(random.IntN(2))
				plan, err := Weights(originals, ready, percent, floor)
				if err != nil {
					t.Errorf("lane %d, route %d: %v", lane, n, err)
					return
				}
				if wrong := wrongWith(originals, ready, percent, floor, plan); wrong != "" {
					t.Errorf("lane %d, route %d: %s: %s, %d servers, %g %%, floor %d: %+v", lane, n, wrong, text(originals), ready, percent, floor, plan)
					return
				}
			}
		})
	}
	running.Wait()
}

// wrongWith says which property a plan lacks, "" for none.
func wrongWith(originals []Backend, ready int, percent float64, floor Floor, plan Plan) string {
	after := make([]Backend, 0, len(originals)+1)
	top := int32(0)
	for i, o := range originals {
		w := plan.Originals[i]
		switch {
		case w < 0 || w > MaxWeight:
			return "a weight out of range"
		case o.Value() == 0 && w != 0:
			return "weight for a backend that had none"
		case o.Value() > 0 && w == 0 && (percent < 100 || floor != Exact):
			return "a backend lost its weight"
		}
		if o.Ready > 0 {
			top = max(top, w)
		}
		after = append(after, Backend{Service: o.Service, Weight: &plan.Originals[i], Ready: o.Ready})
	}
	if plan.Sandbox < 0 || plan.Sandbox > MaxWeight || (percent > 0) != (plan.Sandbox > 0) {
		return "the sandbox' weight"
	}
	after = append(after, Backend{Service: "sandbox", Weight: &plan.Sandbox, Ready: ready})
	if percent > 0 && math.Abs(Shares(after)["sandbox"]-plan.Share) > 1e-9 {
		return "the share that is told is not the router's"
	}
	if top == 0 {
		return ""
	}
	// Whole weights of scaled originals are off by half, and so is the scale that the largest
	// of them tells; the least is 1.
	scale := float64(top) / float64(largest(originals))
	for i, o := range originals {
		ideal := max(float64(o.Value())*scale, min(1, float64(o.Value())))
		if o.Ready == 0 && plan.Originals[i] == MaxWeight && ideal > MaxWeight {
			continue // no server, and no room for its ratio
		}
		if math.Abs(float64(plan.Originals[i])-ideal) > 1 {
			return "others lost their ratio"
		}
	}
	return ""
}

// largest is the largest weight among backends that serve.
func largest(backends []Backend) int32 {
	top := int32(0)
	for _, b := range backends {
		if b.Ready > 0 {
			top = max(top, b.Value())
		}
	}
	return top
}

func text(backends []Backend) string {
	var out []string
	for _, b := range backends {
		out = append(out, fmt.Sprintf("%s: weight %d, %d servers", b.Service, b.Value(), b.Ready))
	}
	return strings.Join(out, ", ")
}

// No scale of the originals with any weight of the sandbox has a smaller error than the
// plan: all of them are tried.
func TestNoWeightsAreBetter(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 9))
	for n := range 300 {
		originals, ready, percent := anyOriginals(random), 1+random.IntN(5), anyPercent(random)
		if percent == 0 {
			continue
		}
		plan, err := Weights(originals, ready, percent, KeepFloor)
		if err != nil {
			t.Fatal(err)
		}
		s := &search{originals: originals, ready: ready, wanted: percent / 100}
		before := Shares(originals)
		for _, o := range originals {
			s.before = append(s.before, before[o.Service])
			if o.Ready > 0 {
				s.top = max(s.top, o.Value())
			}
		}
		judge := func(weights []int32, w int32) float64 {
			s.backends, s.weights = nil, make([]int32, len(originals)+1)
			for i, o := range originals {
				s.backends = append(s.backends, Backend{Service: o.Service, Weight: &weights[i], Ready: o.Ready})
			}
			s.backends = append(s.backends, Backend{Ready: ready})
			_, worst := s.judge(w)
			return worst
		}
		got, least := judge(plan.Originals, plan.Sandbox), math.Inf(1)
		for scale := int32(1); scale <= MaxWeight; scale++ {
			weights := values(originals, scale, s.top)
			if over(weights) {
				continue
			}
			for w := int32(1); w <= MaxWeight; w++ {
				least = min(least, judge(weights, w))
			}
		}
		if got > least+1e-9 {
			t.Errorf("route %d: %s, %d servers, %g %%: error %.9f, %.9f is possible", n, text(originals), ready, percent, got, least)
		}
	}
}
