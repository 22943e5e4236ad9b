//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// instant is a moment in a process' life: directly before or after the n-th request of its kind.
type instant struct {
	request string // verb and resource, without the names of one run: see named
	nth     int64  // from 1
	after   bool
}

func (p instant) String() string {
	when := "before"
	if p.after {
		when = "after"
	}
	return fmt.Sprintf("%s %s #%d", when, p.request, p.nth)
}

// polls says that the request is one of a number that differs from run to run: shift asks
// for the guard's Lease until it is renewed.
func (p instant) polls() bool { return p.nth > 1 && strings.Contains(p.request, "/leases/") }

// certain says that every run of a process has the instant. How often a guard reads depends on how
// the events of its watches come: of its reads only the first is certain.
func (p instant) certain(guard bool) bool {
	return isWrite(p.request) || !p.polls() && (!guard || p.nth == 1)
}

var instantLine = regexp.MustCompile(`^(before|after) (.+) #(\d+)$`)

func parseInstant(line string) (instant, error) {
	m := instantLine.FindStringSubmatch(line)
	if m == nil {
		return instant{}, fmt.Errorf("%q is no instant", line)
	}
	nth, err := strconv.ParseInt(m[3], 10, 64)
	return instant{m[2], nth, m[1] == "after"}, err
}

var runNames = regexp.MustCompile(`(namespaces/|routes/|osc-debug-)(e2e-[0-9a-f]+|guarded-[0-9a-f]+-[0-9]+|recorded|shop-[0-9]+|[bcdfghjklmnpqrstvwxz2456789]{8})\b`)

// named is a request without the names of one run.
func named(r *http.Request) string {
	text := r.Method + " " + runNames.ReplaceAllString(r.URL.Path, "${1}…")
	if watching(r) {
		text += " (watch)"
	}
	if r.URL.Query().Get("dryRun") != "" {
		text += " (dry run)"
	}
	return text
}

// writesOf are those of some requests that the protocol writes: it must survive a kill at each.
func writesOf(requests []string) (writes []string) {
	for _, r := range requests {
		if isWrite(r) {
			writes = append(writes, r)
		}
	}
	return writes
}

func isWrite(request string) bool {
	verb, path, _ := strings.Cut(request, " ")
	if verb == "GET" || strings.HasSuffix(path, "(dry run)") {
		return false
	}
	for _, resource := range []string{"/routes/", "/pods", "/services", "/networkpolicies", "/poddisruptionbudgets"} {
		if strings.Contains(path, resource) && !strings.HasSuffix(path, "/exec") {
			return true
		}
	}
	return false
}

// instants are those before and after each request of a recorded run.
func instants(requests []string) (out []instant) {
	seen := map[string]int64{}
	for _, r := range requests {
		seen[r]++
		out = append(out, instant{r, seen[r], false}, instant{r, seen[r], true})
	}
	return out
}

// sampled are the instants of a matrix to kill a process at. 'make soak' takes all. 'make test'
// takes the protocol's writes, each instant that the committed list does not have, and of the
// others a third, drawn by a seed. An instant of the list that no recorded run had fails the test:
// seen are those of all runs. OSC_DEBUG_SEED gives the seed, -update writes the list.
func sampled(t *testing.T, matrix string, guard bool, all, seen []instant) []instant {
	t.Helper()
	file := filepath.Join("testdata", "instants", matrix+".txt")
	if *update {
		writeInstants(t, file, guard, all)
	}
	listed := readInstants(t, file)
	for _, p := range listed {
		if !slices.Contains(seen, p) {
			t.Errorf("%s: no run had the instant %s any more: see whether that request may go, then run with -update", file, p)
		}
	}
	if full {
		told(t, "killed at all of %d instants", len(all))
		return all
	}
	var always, others []instant
	for _, p := range all {
		if isWrite(p.request) || p.certain(guard) && !slices.Contains(listed, p) {
			always = append(always, p)
		} else {
			others = append(others, p)
		}
	}
	seed := number(t, "OSC_DEBUG_SEED", int(rand.Uint32()))
	random := rand.New(rand.NewPCG(uint64(seed), uint64(len(others))))
	random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	others = others[:(len(others)+2)/3]
	told(t, "seed %d: killed at %d of %d instants, %d of them the protocol's writes or new", seed, len(always)+len(others), len(all), len(always))
	return append(always, others...)
}

func readInstants(t *testing.T, file string) (out []instant) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		p, err := parseInstant(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// writeInstants writes the list of those that are certain.
func writeInstants(t *testing.T, file string, guard bool, all []instant) {
	t.Helper()
	var out strings.Builder
	for _, p := range all {
		if p.certain(guard) {
			fmt.Fprintln(&out, p)
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
