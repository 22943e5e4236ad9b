//go:build e2e

package e2e

import (
	"bytes"
	endian "encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// number is a count or seed that the environment may set.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// faults disturb requests between a client and the API server. What can't be made to
// happen with a real one is made here; everything else is real.
type faults struct {
	mu     sync.Mutex
	random *rand.Rand
	rate   float64 // of requests
	counts map[string]int
	// routesDown until then: as when only the server of route.openshift.io is away.
	routesDown time.Time
}

func newFaults(seed uint64, rate float64) *faults {
	return &faults{random: rand.New(rand.NewPCG(seed, 1)), rate: rate, counts: map[string]int{}}
}

// kinds of faults, for any request, for writes, for watches.
var (
	anyFault   = []string{"429", "500", "503", "504", "reset", "lost", "timeout"}
	writeFault = append([]string{"409", "lost"}, anyFault...)
	watchFault = []string{"429", "500", "reset", "watch closed", "event lost", "410", "expired within"}
)

// pick says what happens to a request, "" for nothing, and a number for details.
func (f *faults) pick(r *http.Request) (string, float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.Contains(r.URL.Path, "route.openshift.io") && time.Now().Before(f.routesDown) {
		return "503", 0
	}
	if f.random.Float64() >= f.rate {
		return "", 0
	}
	kinds := anyFault
	switch {
	case watching(r):
		kinds = watchFault
	case r.Method == http.MethodPatch || r.Method == http.MethodPut:
		kinds = writeFault
	}
	kind := kinds[f.random.IntN(len(kinds))]
	if kind == "timeout" && f.random.IntN(10) > 0 { // each costs seconds
		kind = "504"
	}
	if f.random.IntN(200) == 0 {
		f.counts["routes down for 2 s"]++
		f.routesDown, kind = time.Now().Add(2*time.Second), "503"
	}
	f.counts[kind]++
	return kind, f.random.Float64()
}

func (f *faults) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate, f.routesDown = 0, time.Time{}
}

func (f *faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	total := 0
	for kind, n := range f.counts {
		out, total = append(out, fmt.Sprintf("%s %d", kind, n)), total+n
	}
	sort.Strings(out)
	return fmt.Sprintf("%d faults: %s", total, strings.Join(out, ", "))
}

// hangs is how long a request may be without an answer until its connection ends.
const hangs = 8 * time.Second

var statuses = map[string]struct {
	code   int
	reason metav1.StatusReason
}{
	"409": {409, metav1.StatusReasonConflict}, "429": {429, metav1.StatusReasonTooManyRequests}, "500": {500, metav1.StatusReasonInternalError},
	"503": {503, metav1.StatusReasonServiceUnavailable}, "504": {504, metav1.StatusReasonTimeout}, "410": {410, metav1.StatusReasonExpired}, "403": {403, metav1.StatusReasonForbidden},
}

// refuse answers with a status.
func refuse(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", "application/json")
	if kind == "429" {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(statuses[kind].code)
	_ = json.NewEncoder(w).Encode(statusOf(kind))
}

func statusOf(kind string) *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(statuses[kind].code), Reason: statuses[kind].reason, Message: "fault " + kind + ", which the test makes"}
}

func (f *faults) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	kind, detail := f.pick(r)
	if _, ok := statuses[kind]; ok {
		refuse(w, kind)
		return
	}
	switch kind {
	case "reset":
		reset(w)
	case "timeout": // it happens, or not, and no answer comes for long
		if detail < 0.5 {
			forward(&discarded{header: http.Header{}}, r)
		}
		select {
		case <-r.Context().Done():
		case <-time.After(hangs):
		}
		reset(w)
	case "lost": // it happens, and the answer does not come back
		forward(&discarded{header: http.Header{}}, r)
		reset(w)
	case "watch closed", "event lost", "expired within":
		forward(&cutWatch{ResponseWriter: w, end: time.Now().Add(time.Duration(detail * float64(5*time.Second))), how: kind}, r)
	default:
		forward(w, r)
	}
}

// reset ends the connection as a router does that lost its table.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		if c, ok := t.NetConn().(*net.TCPConn); ok {
			_ = c.SetLinger(0)
		}
	}
	_ = conn.Close()
}

// discarded takes an answer that nobody gets.
type discarded struct{ header http.Header }

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d *discarded) WriteHeader(int)             {}

// cutWatch drops one event of a watch, or ends it, at once or with an event that says that
// its place in the past is gone, as compaction has it.
type cutWatch struct {
	http.ResponseWriter
	end  time.Time
	how  string
	done bool
}

func (c *cutWatch) Write(p []byte) (int, error) {
	switch {
	case time.Now().Before(c.end) || c.done:
	case c.how == "event lost" && wholeEvent(p):
		c.done = true
		return len(p), nil
	case c.how == "expired within" && wholeEvent(p):
		_, _ = c.ResponseWriter.Write(errorEvent(c.Header().Get("Content-Type"), statusOf("410")))
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	default:
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// errorEvent is a watch's last word, in its own form.
func errorEvent(contentType string, status *metav1.Status) []byte {
	media, _, _ := strings.Cut(contentType, ";")
	form, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), media)
	if !ok {
		panic("a watch in " + contentType)
	}
	var event bytes.Buffer
	object, err := runtime.Encode(form.Serializer, status)
	if err == nil {
		err = form.StreamSerializer.Encode(&metav1.WatchEvent{Type: string(watch.Error), Object: runtime.RawExtension{Raw: object}}, form.StreamSerializer.Framer.NewFrameWriter(&event))
	}
	if err != nil {
		panic(err)
	}
	return event.Bytes()
}

// wholeEvent: a line of JSON, or a frame of protobuf with its length before it.
func wholeEvent(p []byte) bool {
	return bytes.HasSuffix(p, []byte("}\n")) || len(p) > 4 && int(endian.BigEndian.Uint32(p)) == len(p)-4
}

func (c *cutWatch) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Sessions of every kind, by seed, while a fifth of all requests of commands and guards
// meets a fault: when the faults stop, every Route is as before and nothing is left.
func TestFaultsOnAFifthOfRequests(t *testing.T) {
	t.Parallel()
	sessions, seed := number(t, "OSC_DEBUG_SESSIONS", 48), number(t, "OSC_DEBUG_SEED", int(rand.Uint32()))
	e := newEnv(t)
	account := e.ownGuards()
	e.deployment("web", 1, nil)
	lanes := min(40, sessions)
	before := map[string]string{}
	for n := range lanes {
		r := e.namedRoute(fmt.Sprintf("shop-%d", n))
		before[r.Name] = looks(r)
	}
	f := newFaults(uint64(seed), 0.2)
	alice, guards := e.proxied("alice", f.handle), e.proxied(account, f.handle)
	one, two := e.guard("one", guards, "--relist", "20s"), e.guard("two", guards, "--relist", "20s")
	e.eventually("a guard leads", func() bool {
		r := e.cli("shift", "--route", "shop-0", "--weight", "0", "--no-probe", "--dry-run", "server")
		return r.code == 0 && !strings.Contains(r.errOut, "no guard")
	})

	var mu sync.Mutex
	codes := map[int]int{}
	next := make(chan int)
	var running sync.WaitGroup
	for lane := range lanes {
		running.Go(func() {
			for n := range next {
				e.laneFree(fmt.Sprintf("shop-%d", lane), one, two)
				route := fmt.Sprintf("shop-%d", lane)
				s := &randomSession{e: e, route: route, before: before[route], config: alice, random: rand.New(rand.NewPCG(uint64(seed), uint64(n)+2))}
				code := s.run()
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	for n := range sessions {
		next <- n
	}
	close(next)
	running.Wait()
	f.stop()
	if codes[0] < sessions/4 {
		t.Errorf("seed %d: of %d sessions only %d ended well: faults kept the others from being held at all", seed, sessions, codes[0])
	}
	t.Logf("seed %d, %d sessions by exit code of shift: %v; %s", seed, sessions, codes, f)

	for name, was := range before {
		e.within(3*time.Minute, fmt.Sprintf("seed %d: route %s as before", seed, name), func() bool { r := e.routeNamed(name); return looks(r) == was && !managed(r) })
	}
	e.within(4*time.Minute, fmt.Sprintf("seed %d: no sandbox left", seed), func() bool { return e.sandboxes() == 0 })
}

// managed says whether a Route has an entry of ours in its managedFields.
func managed(r *routev1.Route) bool {
	return slices.ContainsFunc(r.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == session.FieldManager })
}

// laneTime is what ending a session may take while a fifth of the guards' requests fail too:
// 102 s until a killed command's arming counts as abandoned, a change of the leading guard, a
// minute of draining, and some tries.
const laneTime = 5 * time.Minute

// laneFree waits until no session is on a Route, and shows what the guards say if one stays.
func (e *env) laneFree(route string, guards ...*running) {
	for end := time.Now().Add(laneTime); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if session.Of(e.routeNamed(route)) == nil {
			return
		}
	}
	r := e.routeNamed(route)
	e.t.Errorf("route %s: still %v after %s: %v", route, session.Of(r), laneTime, r.Annotations)
	for _, g := range guards {
		for line := range strings.Lines(g.progress.String()) {
			if strings.Contains(line, r.Labels[session.Label]) || strings.Contains(line, "again") {
				e.t.Log(line)
			}
		}
	}
}

// randomSession is one session, its fate drawn by lot.
type randomSession struct {
	e             *env
	route, config string
	before        string // looks of the Route
	random        *rand.Rand
}

// run returns shift's exit code, -1 when it was killed.
func (s *randomSession) run() int {
	e, lot := s.e, s.random.IntN
	ttl := fmt.Sprintf("%ds", 2+lot(8))
	args := []string{"shift", "--route", s.route, "--router", routerIP, "--timeout", "10s", "--ttl", ttl, "--weight", fmt.Sprint([]int{0, 1, 20, 50, 99, 100}[lot(6)])}
	if lot(2) == 0 {
		args = append(args, "--detach")
	} else {
		args = append(args, "--for", "1s", "--drain", "500ms")
	}
	shift := e.start(s.config, args...)
	if lot(4) == 0 {
		time.Sleep(time.Duration(lot(4000)) * time.Millisecond)
		_ = shift.cmd.Process.Kill()
		shift.wait()
		return -1
	}
	result := shift.wait()
	s.check(result)
	if result.code == 0 && strings.Contains(result.errOut, "is as it was") { // nobody else was at it
		if r := e.routeNamed(s.route); looks(r) != s.before || managed(r) {
			e.t.Errorf("the command says that the Route is as it was: %s\n%s", looks(r), result)
		}
		if left := e.pods(session.RouteNameKey + "=" + s.route); len(left) > 0 {
			e.t.Errorf("the command says that the session is over, and pod %s is left\n%s", left[0].Name, result)
		}
	}
	for range lot(3) {
		switch lot(5) {
		case 0:
			s.check(e.start(s.config, "weight", fmt.Sprint(lot(101)), "--route", s.route, "--no-probe").wait())
		case 1:
			s.check(e.start(s.config, "extend", "2s", "--route", s.route).wait())
		case 2:
			s.check(e.start(s.config, "rollback", "--route", s.route, "--drain", "500ms").wait())
		case 3:
			rollback := e.start(s.config, "rollback", "--route", s.route, "--drain", "500ms")
			time.Sleep(time.Duration(lot(1500)) * time.Millisecond)
			_ = rollback.cmd.Process.Kill()
			rollback.wait()
		case 4:
			for _, p := range e.pods(session.RouteNameKey + "=" + s.route) {
				_ = e.readiness(p.Name, false)
			}
		}
	}
	return result.code
}

// check fails on what no fault excuses.
func (s *randomSession) check(r result) {
	if strings.Contains(r.errOut, "panic:") || strings.Contains(r.errOut, "goroutine ") {
		s.e.t.Errorf("%s", r)
	}
}
