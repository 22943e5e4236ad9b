package route

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// defaultRoutes is the number of random Routes for each property. OSC_DEBUG_ROUTES overrides it:
// 'make soak' tries 100,000.
const defaultRoutes = 10_000

func routeCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("OSC_DEBUG_ROUTES")
	if text == "" {
		return defaultRoutes
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// randomOriginals returns one to three backends, at least one of which serves.
func randomOriginals(random *rand.Rand) []Backend {
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

func randomPercent(random *rand.Rand) Percent {
	switch random.IntN(8) {
	case 0:
		return 0
	case 1:
		return 100
	case 2:
		return Percent(random.Float64())
	}
	return Percent(100 * random.Float64())
}

// For random backends: weights are 0 to 256; a weight of 0 stays 0; other weights stay above 0 unless
// everything goes to the sandbox; the originals keep their ratio to within the rounding of integer
// weights; and the returned share is the router's.
func TestWeightsOfAnyRoute(t *testing.T) {
	var running sync.WaitGroup
	routes, lanes := routeCount(t), runtime.NumCPU()
	for lane := range lanes {
		running.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(lane)))
			for n := range (routes + lanes - 1) / lanes {
				originals, ready, percent, floor := randomOriginals(random), 1+random.IntN(5), randomPercent(random), Floor(random.IntN(2))
				plan, err := Weights(originals, ready, percent, floor)
				if err != nil {
					t.Errorf("lane %d, route %d: %v", lane, n, err)
					return
				}
				if wrong := brokenProperty(originals, ready, percent, floor, plan); wrong != "" {
					t.Errorf("lane %d, route %d: %s: %s, %d servers, %g %%, floor %d: %+v", lane, n, wrong, text(originals), ready, percent, floor, plan)
					return
				}
			}
		})
	}
	running.Wait()
}

// brokenProperty returns the property that a split does not have, "" for none.
func brokenProperty(originals []Backend, ready int, percent Percent, floor Floor, plan Split) string {
	after := make([]Backend, 0, len(originals)+1)
	top := int32(0)
	for i, o := range originals {
		w := plan.Originals[i]
		switch {
		case w < 0 || w > MaxWeight:
			return "a weight is out of range"
		case o.Value() == 0 && w != 0:
			return "a backend with weight 0 got a weight"
		case o.Value() > 0 && w == 0 && (percent < 100 || floor != Exact):
			return "a backend lost its weight"
		}
		if o.Ready > 0 {
			top = max(top, w)
		}
		after = append(after, Backend{Service: o.Service, Weight: &plan.Originals[i], Ready: o.Ready})
	}
	if plan.Sandbox < 0 || plan.Sandbox > MaxWeight || (percent > 0) != (plan.Sandbox > 0) {
		return "the sandbox's weight is wrong"
	}
	after = append(after, Backend{Service: "sandbox", Weight: &plan.Sandbox, Ready: ready})
	if percent > 0 && math.Abs(float64(Shares(after)["sandbox"]-plan.Share)) > 1e-9 {
		return "the returned share is not the router's"
	}
	if top == 0 {
		return ""
	}
	// Rounding changes each weight by up to half, and so the scale that is derived from the largest.
	// The smallest weight is 1.
	scale := float64(top) / float64(largestWeight(originals))
	for i, o := range originals {
		ideal := max(float64(o.Value())*scale, min(1, float64(o.Value())))
		if o.Ready == 0 && plan.Originals[i] == MaxWeight && ideal > MaxWeight {
			continue // no servers, and its ratio would exceed 256
		}
		if math.Abs(float64(plan.Originals[i])-ideal) > 1 {
			return "the originals lost their ratio"
		}
	}
	return ""
}

// largestWeight returns the largest weight among backends with servers.
func largestWeight(backends []Backend) int32 {
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

// No other scale of the originals' weights with any weight of the sandbox has a smaller error; this
// tries all of them.
func TestNoWeightsAreBetter(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 9))
	for n := range 300 {
		originals, ready, percent := randomOriginals(random), 1+random.IntN(5), randomPercent(random)
		if percent == 0 {
			continue
		}
		plan, err := Weights(originals, ready, percent, KeepFloor)
		if err != nil {
			t.Fatal(err)
		}
		s := &search{originals: originals, ready: ready, wanted: float64(percent.Share())}
		before := Shares(originals)
		for _, o := range originals {
			s.before = append(s.before, float64(before[o.Service]))
			if o.Ready > 0 {
				s.largest = max(s.largest, o.Value())
			}
		}
		errorOf := func(weights []int32, w int32) float64 {
			s.backends, s.weights = nil, make([]int32, len(originals)+1)
			for i, o := range originals {
				s.backends = append(s.backends, Backend{Service: o.Service, Weight: &weights[i], Ready: o.Ready})
			}
			s.backends = append(s.backends, Backend{Ready: ready})
			_, worst := s.evaluate(w)
			return worst
		}
		got, least := errorOf(plan.Originals, plan.Sandbox), math.Inf(1)
		for scale := int32(1); scale <= MaxWeight; scale++ {
			weights := scaledWeights(originals, scale, s.largest)
			if exceedMax(weights) {
				continue
			}
			for w := int32(1); w <= MaxWeight; w++ {
				least = min(least, errorOf(weights, w))
			}
		}
		if got > least+1e-9 {
			t.Errorf("route %d: %s, %d servers, %g %%: error %.9f, %.9f is possible", n, text(originals), ready, percent, got, least)
		}
	}
}

// An independent implementation finds no smaller error. For each scale of the originals' weights it
// tries the sandbox weight that reaches the wanted share and three on either side. The test above
// tries all weights for fewer Routes, with the arithmetic of the search itself.
func TestNoWeightsAreBetterByAnOracle(t *testing.T) {
	var running sync.WaitGroup
	routes, lanes := routeCount(t), runtime.NumCPU()
	for lane := range lanes {
		running.Go(func() {
			random := rand.New(rand.NewPCG(11, uint64(lane)))
			for n := range (routes + lanes - 1) / lanes {
				originals, ready, percent := randomOriginals(random), 1+random.IntN(5), randomPercent(random)
				if percent == 0 {
					continue
				}
				plan, err := Weights(originals, ready, percent, KeepFloor)
				if err != nil {
					t.Errorf("lane %d, route %d: %v", lane, n, err)
					return
				}
				o := newOracle(originals, ready, float64(percent.Share()))
				if got, least := o.worst(plan.Originals, plan.Sandbox), o.least(); got > least+1e-9 {
					t.Errorf("lane %d, route %d: %s, %d servers, %g %%: error %.9f, %.9f is possible", lane, n, text(originals), ready, percent, got, least)
					return
				}
			}
		})
	}
	running.Wait()
}

// oracle calculates shares from the description of the router's algorithm: a Service's weight is
// divided by its number of servers; the largest result is scaled to 256, the others are truncated to
// integers of at least 1; if only one Service has a weight, its servers get weight 1.
type oracle struct {
	asked   []int32 // weights of the originals
	servers []int   // of the originals, then of the sandbox
	ideal   []float64
	shares  []float64
}

func newOracle(originals []Backend, ready int, wanted float64) *oracle {
	o := &oracle{}
	for _, b := range originals {
		o.asked, o.servers = append(o.asked, b.Value()), append(o.servers, b.Ready)
	}
	o.servers = append(o.servers, ready)
	o.shares = make([]float64, len(o.servers))
	o.divide(o.asked, 0)
	for _, share := range o.shares[:len(originals)] {
		o.ideal = append(o.ideal, share*(1-wanted))
	}
	o.ideal = append(o.ideal, wanted)
	return o
}

// divide sets every Service's share.
func (o *oracle) divide(originals []int32, sandbox int32) {
	weight := func(i int) int32 {
		if i == len(originals) {
			return sandbox
		}
		return originals[i]
	}
	var most float32
	serving := 0
	for i, n := range o.servers {
		if n > 0 && weight(i) > 0 {
			serving++
			most = max(most, float32(weight(i))/float32(n))
		}
	}
	total := 0.0
	for i, n := range o.servers {
		o.shares[i] = 0
		switch w := weight(i); {
		case n == 0 || w == 0:
		case serving == 1:
			o.shares[i] = float64(n)
		default:
			o.shares[i] = float64(n) * float64(max(1, int32(float32(w)/float32(n)*(256/most))))
		}
		total += o.shares[i]
	}
	for i := range o.shares {
		o.shares[i] /= total
	}
}

func (o *oracle) worst(originals []int32, sandbox int32) float64 {
	o.divide(originals, sandbox)
	worst := 0.0
	for i, share := range o.shares {
		worst = max(worst, math.Abs(share-o.ideal[i]))
	}
	return worst
}

// least returns the smallest error that it finds.
func (o *oracle) least() float64 {
	least, top := math.Inf(1), int32(0)
	for i, w := range o.asked {
		if o.servers[i] > 0 {
			top = max(top, w)
		}
	}
	last := len(o.servers) - 1
	scaled := make([]int32, len(o.asked))
scales:
	for most := int32(1); most <= 256; most++ {
		for i, w := range o.asked {
			if scaled[i] = int32(math.Floor(float64(w)*float64(most)/float64(top) + 0.5)); w > 0 {
				scaled[i] = max(scaled[i], 1)
			}
			if scaled[i] > 256 {
				continue scales
			}
		}
		enough := int32(sort.Search(255, func(i int) bool {
			o.divide(scaled, int32(i+1))
			return o.shares[last] >= o.ideal[last]
		}) + 1)
		for w := max(1, enough-3); w <= min(256, enough+3); w++ {
			if o.divide(scaled, w); math.Abs(o.shares[last]-o.ideal[last]) < least {
				least = min(least, o.worst(scaled, w))
			}
		}
	}
	return least
}
