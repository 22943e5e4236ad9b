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

// faults injects faults between a client and the API server: those that a real API server cannot be
// made to produce. Everything else in the tests is real.
type faults struct {
	mu     sync.Mutex
	random *rand.Rand
	rate   float64        // share of requests with a fault, 0..1
	counts map[string]int // faults so far, by kind
	// routesDown is until when requests to route.openshift.io fail, as if only its server were down.
	routesDown time.Time
}

func newFaults(seed uint64, rate float64) *faults {
	return &faults{random: rand.New(rand.NewPCG(seed, 1)), rate: rate, counts: map[string]int{}}
}

// The kinds of faults for any request, for writes and for watches. Kinds that occur twice are twice
// as likely.
var (
	anyFault   = []string{"429", "500", "503", "504", "reset", "lost", "timeout"}
	writeFault = append([]string{"409", "lost"}, anyFault...)
	watchFault = []string{"429", "500", "reset", "watch closed", "event lost", "410", "expired within"}
)

// routesDown is the kind of fault that faults.routesDown stands for.
const routesDown = "routes down for 2 s"

// count counts a fault.
func (f *faults) count(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[kind]++
}

// missing lists the kinds of faults that have not happened.
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

// pickFault draws the fault for a request, "" for none, and a random number (0..1) for its details.
func (f *faults) pickFault(r *http.Request) (string, float64) {
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
	case isWatch(r):
		kinds = watchFault
	case r.Method == http.MethodPatch || r.Method == http.MethodPut:
		kinds = writeFault
	}
	kind := kinds[f.random.IntN(len(kinds))]
	if kind == "timeout" && f.random.IntN(10) > 0 { // rare, because each takes seconds
		kind = "504"
	}
	if f.random.IntN(200) == 0 {
		f.counts[routesDown]++
		f.routesDown, kind = time.Now().Add(2*time.Second), "503"
	}
	if !interruptsWatch(kind) {
		f.counts[kind]++
	}
	return kind, f.random.Float64()
}

// interruptsWatch says whether a fault hits a watch later, if the watch lasts; it is counted then.
func interruptsWatch(kind string) bool {
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

// hangs is how long a request of fault "timeout" gets no answer before its connection ends.
const hangs = 8 * time.Second

var statuses = map[string]struct {
	code   int
	reason metav1.StatusReason
}{
	"409": {409, metav1.StatusReasonConflict}, "429": {429, metav1.StatusReasonTooManyRequests}, "500": {500, metav1.StatusReasonInternalError},
	"503": {503, metav1.StatusReasonServiceUnavailable}, "504": {504, metav1.StatusReasonTimeout}, "410": {410, metav1.StatusReasonExpired}, "403": {403, metav1.StatusReasonForbidden},
}

// refuse answers a request with the Status of a kind of fault.
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
		Code: int32(statuses[kind].code), Reason: statuses[kind].reason, Message: "fault " + kind + ", injected by the test"}
}

func (f *faults) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	kind, detail := f.pickFault(r)
	if _, ok := statuses[kind]; ok {
		refuse(w, kind)
		return
	}
	if interruptsWatch(kind) {
		forward(&cutWatch{ResponseWriter: w, end: time.Now().Add(time.Duration(detail * float64(5*time.Second))), how: kind, count: f.count}, r)
		return
	}
	switch kind {
	case "reset":
		reset(w)
	case "timeout": // the API server may or may not get the request, and no answer comes for a long time
		if detail < 0.5 {
			forward(&discardWriter{header: http.Header{}}, r)
		}
		select {
		case <-r.Context().Done():
		case <-time.After(hangs):
		}
		reset(w)
	case "lost": // the API server handles the request, but its answer is lost
		forward(&discardWriter{header: http.Header{}}, r)
		reset(w)
	default:
		forward(w, r)
	}
}

// reset closes the connection with a TCP reset, as a network device that lost its state does.
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

// discardWriter discards a response.
type discardWriter struct{ header http.Header }

func (d *discardWriter) Header() http.Header         { return d.header }
func (d *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (d *discardWriter) WriteHeader(int)             {}

// cutWatch drops one event of a watch, or ends the watch: either at once, or with the error event
// 410 (Expired), which a client gets after compaction in etcd.
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

// errorEvent encodes a watch's error event in the watch's content type.
func errorEvent(contentType string, status *metav1.Status) []byte {
	media, _, _ := strings.Cut(contentType, ";")
	form, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), media)
	if !ok {
		panic("unknown content type of a watch: " + contentType)
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

// wholeEvent says whether p is one whole event: a line of JSON, or a protobuf frame that begins
// with its length.
func wholeEvent(p []byte) bool {
	return bytes.HasSuffix(p, []byte("}\n")) || len(p) > 4 && int(endian.BigEndian.Uint32(p)) == len(p)-4
}

func (c *cutWatch) Unwrap() http.ResponseWriter { return c.ResponseWriter }
