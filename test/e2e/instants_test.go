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

// instant is a moment in a process's life: directly before or after its n-th request of a kind.
type instant struct {
	request string // verb and resource, as requestName returns it
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

// isPolling says whether the request repeats a varying number of times: shift reads the guard's
// Lease until the guard has renewed it, and its home once or more, as several parts of a command may do so at once.
func (p instant) isPolling() bool {
	return p.nth > 1 && (strings.Contains(p.request, "/leases/") || p.request == "GET /api/v1/namespaces/osc-debug")
}

// isInEveryRun says whether every run of a process has the instant. How often a guard reads depends
// on the timing of its watch events, so only its first read of a kind is in every run.
func (p instant) isInEveryRun(guard bool) bool {
	return isWrite(p.request) || !p.isPolling() && (!guard || p.nth == 1)
}

var instantLine = regexp.MustCompile(`^(before|after) (.+) #(\d+)$`)

func parseInstant(line string) (instant, error) {
	m := instantLine.FindStringSubmatch(line)
	if m == nil {
		return instant{}, fmt.Errorf("%q is not an instant such as \"before GET /… #1\"", line)
	}
	nth, err := strconv.ParseInt(m[3], 10, 64)
	return instant{m[2], nth, m[1] == "after"}, err
}

var runNames = regexp.MustCompile(`(namespaces/|routes/|osc-debug-)(e2e-[0-9a-f]+|guarded-[0-9a-f]+-[0-9]+|recorded|shop-[0-9]+|[bcdfghjklmnpqrstvwxz2456789]{8})\b`)

// requestName returns the request's verb and path without the names that differ from run to run.
func requestName(r *http.Request) string {
	text := r.Method + " " + runNames.ReplaceAllString(r.URL.Path, "${1}…")
	if isWatch(r) {
		text += " (watch)"
	}
	if r.URL.Query().Get("dryRun") != "" {
		text += " (dry run)"
	}
	return text
}

// protocolWrites returns the requests that are writes of the session protocol, which must survive a
// kill at each of them.
func protocolWrites(requests []string) (writes []string) {
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

// instants returns the instants before and after each request of a recorded run.
func instants(requests []string) (out []instant) {
	seen := map[string]int64{}
	for _, r := range requests {
		seen[r]++
		out = append(out, instant{r, seen[r], false}, instant{r, seen[r], true})
	}
	return out
}

// sampleInstants chooses the instants of a matrix at which a process is killed. 'make soak' takes
// all. 'make test' takes the protocol's writes, each instant that is missing from the committed
// list, and a random third of the others; OSC_DEBUG_SEED sets the seed. The test fails if the list
// has an instant that no recorded run had (seen has those of all runs). -update rewrites the list.
func sampleInstants(t *testing.T, matrix string, guard bool, all, seen []instant) []instant {
	t.Helper()
	file := instantsFile(matrix)
	if *update {
		writeInstants(t, file, guard, all)
	}
	listed := readInstants(t, file)
	for _, p := range notAmong(t, matrix, seen) {
		t.Errorf("%s: no run has the instant %q any more; check whether that request may be omitted, then run with -update", file, p)
	}
	if full {
		summarize(t, "killed at all %d instants", len(all))
		return all
	}
	var always, others []instant
	for _, p := range all {
		if isWrite(p.request) || p.isInEveryRun(guard) && !slices.Contains(listed, p) {
			always = append(always, p)
		} else {
			others = append(others, p)
		}
	}
	seed := intFromEnv(t, "OSC_DEBUG_SEED", int(rand.Uint32()))
	random := rand.New(rand.NewPCG(uint64(seed), uint64(len(others))))
	random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	others = others[:(len(others)+2)/3]
	summarize(t, "seed %d: killed at %d of %d instants, %d of which are protocol writes or new", seed, len(always)+len(others), len(all), len(always))
	return append(always, others...)
}

// notAmong returns the instants of a committed list that are not among those seen.
func notAmong(t *testing.T, matrix string, seen []instant) []instant {
	t.Helper()
	return slices.DeleteFunc(readInstants(t, instantsFile(matrix)), func(p instant) bool { return slices.Contains(seen, p) })
}

func instantsFile(matrix string) string { return filepath.Join("testdata", "instants", matrix+".txt") }

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

// writeInstants writes the list of the instants that are in every run.
func writeInstants(t *testing.T, file string, guard bool, all []instant) {
	t.Helper()
	var out strings.Builder
	for _, p := range all {
		if p.isInEveryRun(guard) {
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
