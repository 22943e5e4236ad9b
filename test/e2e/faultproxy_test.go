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
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

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

// routesDown: see faults.
const routesDown = "routes down for 2 s"

// count notes faults as they happen.
func (f *faults) count(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[kind]++
}

// missing lists the kinds that did not happen.
func (f *faults) missing() (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kind := range slices.Concat(writeFault, watchFault, []string{routesDown}) {
		if f.counts[kind] == 0 && !slices.Contains(out, kind) {
			out = append(out, kind)
		}
	}
	return out
}

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
		f.counts[routesDown]++
		f.routesDown, kind = time.Now().Add(2*time.Second), "503"
	}
	if !cuts(kind) {
		f.counts[kind]++
	}
	return kind, f.random.Float64()
}

// cuts says whether a fault befalls a watch later, if it lasts: it is counted then.
func cuts(kind string) bool {
	return kind == "watch closed" || kind == "event lost" || kind == "expired within"
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
	if cuts(kind) {
		forward(&cutWatch{ResponseWriter: w, end: time.Now().Add(time.Duration(detail * float64(5*time.Second))), how: kind, count: f.count}, r)
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
	end   time.Time
	how   string
	done  bool
	count func(kind string)
}

func (c *cutWatch) Write(p []byte) (int, error) {
	switch {
	case time.Now().Before(c.end) || c.done:
	case c.how == "event lost" && wholeEvent(p):
		c.done = true
		c.count(c.how)
		return len(p), nil
	case c.how == "expired within" && wholeEvent(p):
		c.count(c.how)
		_, _ = c.ResponseWriter.Write(errorEvent(c.Header().Get("Content-Type"), statusOf("410")))
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	default:
		c.count("watch closed")
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
