//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// update rewrites the golden files: go test ./test/e2e -run TestWhatASessionWrites -update
var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// writeLog records a client's writes that the API server accepts. Patches keep their order;
// creations (Events included) and deletions are sorted, because their order may vary. Dry runs are
// marked as such.
type writeLog struct {
	handling sync.RWMutex // read-locked by requests: a client has its response before the write is noted

	mu      sync.Mutex
	patches []string
	objects []string // creations and deletions; of an Event only its reason
	names   map[string]string
}

func (w *writeLog) handle(out http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	watched := r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/apis/authentication.k8s.io/") &&
		!strings.Contains(r.URL.Path, "/apis/authorization.k8s.io/") && !strings.Contains(r.URL.Path, "/apis/coordination.k8s.io/") &&
		!strings.HasSuffix(r.URL.Path, "/exec") && !strings.Contains(r.URL.Path, "/configmaps/")
	if !watched {
		forward(out, r)
		return
	}
	w.handling.RLock()
	defer w.handling.RUnlock()
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	a := &statusRecorder{ResponseWriter: out}
	forward(a, r)
	if a.code/100 == 2 {
		w.note(r, body)
	}
}

// statusRecorder records the status code of a response.
type statusRecorder struct {
	http.ResponseWriter
	code int
}

// Unwrap gives http.ResponseController access to Flush.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *statusRecorder) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (w *writeLog) note(r *http.Request, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what := r.Method + " " + r.URL.Path
	if r.URL.Query().Get("dryRun") != "" {
		what += " (dry run)"
	}
	if r.Method == http.MethodPatch {
		w.patches = append(w.patches, w.mask(what+"\n"+patchText(body)))
		return
	}
	if r.Method == http.MethodDelete {
		w.objects = append(w.objects, w.mask(what+"\n"+deletionText(body)))
		return
	}
	w.objects = append(w.objects, w.mask(what+"\n"+objectText(body)))
}

// patchText formats a JSON patch with one operation per line and a readable journal.
func patchText(body []byte) string {
	var ops []map[string]any
	if err := json.Unmarshal(body, &ops); err != nil {
		return string(body)
	}
	var out strings.Builder
	for _, o := range ops {
		if o["path"] == "/metadata/managedFields" {
			var managers []string // the API server decides the contents of the entries
			entries, _ := o["value"].([]any)
			for _, e := range entries {
				entry, _ := e.(map[string]any)
				managers = append(managers, fmt.Sprint(entry["manager"]))
			}
			slices.Sort(managers) // the API server orders entries by time, in seconds
			o["value"] = managers
		}
		fmt.Fprintln(&out, compactJSON(o))
	}
	return out.String()
}

func deletionText(body []byte) string {
	decoded, err := decodeObject(body)
	if err != nil {
		return fmt.Sprintf("%s (%v)", body, err)
	}
	return compactJSON(decoded)
}

// objectText formats a created object. Of an Event it keeps only what scripts may rely on, not the
// message.
func objectText(body []byte) string {
	object, err := decodeObject(body)
	if err != nil {
		return fmt.Sprintf("%q (%v)", body, err)
	}
	if event, ok := object.(*corev1.Event); ok {
		return fmt.Sprintf("%s on %s %s", event.Reason, event.InvolvedObject.Kind, event.InvolvedObject.Name)
	}
	text, err := json.MarshalIndent(object, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func decodeObject(body []byte) (runtime.Object, error) {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	return object, err
}

func compactJSON(v any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out.String())
}

// These values differ from run to run; they are masked in this order.
var (
	goldenUID     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	goldenTime    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	goldenVersion = regexp.MustCompile(`"(path":"/metadata/resourceVersion","value|resourceVersion)":"\d+"`)
	goldenID      = regexp.MustCompile(`\b[bcdfghjklmnpqrstvwxz2456789]{8}\b`)
	goldenNS      = regexp.MustCompile(`\b(e2e-[0-9a-f]{8}|guarded-[0-9a-f]{6}-\d+)\b`)
	goldenDigest  = regexp.MustCompile(`[a-z0-9./:-]+@sha256:[0-9a-f]{64}`)
	goldenHash    = regexp.MustCompile(`\b(web|b)-[0-9a-f]{5,10}-[a-z0-9]{5}\b`)
)

func (w *writeLog) mask(text string) string {
	text = goldenUID.ReplaceAllString(text, "UID")
	text = goldenTime.ReplaceAllString(text, "TIME")
	text = goldenVersion.ReplaceAllString(text, `"$1":"VERSION"`)
	text = goldenNS.ReplaceAllString(text, "NAMESPACE")
	text = goldenHash.ReplaceAllString(text, "$1-HASH")
	text = goldenDigest.ReplaceAllStringFunc(text, func(image string) string {
		if strings.Contains(image, strings.Repeat("1", 64)) {
			return image // fakeImageID
		}
		return "SIDECAR@sha256:DIGEST"
	})
	return goldenID.ReplaceAllStringFunc(text, func(id string) string {
		if w.names[id] == "" {
			w.names[id] = fmt.Sprintf("SESSION%d", len(w.names)+1)
		}
		return w.names[id]
	})
}

func newWriteLog() *writeLog { return &writeLog{names: map[string]string{}} }

func (w *writeLog) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	objects := slices.Sorted(slices.Values(w.objects))
	var out strings.Builder
	for _, p := range append(slices.Clone(w.patches), slices.Compact(objects)...) {
		out.WriteString(strings.TrimSpace(p) + "\n\n")
	}
	return out.String()
}

// golden compares the writes of clients that have ended with a golden file, or rewrites the file with
// -update.
func (w *writeLog) golden(t *testing.T, name string) {
	t.Helper()
	w.handling.Lock()
	defer w.handling.Unlock()
	file := filepath.Join("testdata", "golden", name+".txt")
	got := w.String()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the session's writes differ from %s; got:\n%s", file, got)
	}
}

// Every write of a session matches its golden file, apart from masked names, times and versions.
// Guards and commands of other versions, and users who read Routes, depend on these writes.
func TestWhatASessionWrites(t *testing.T) {
	t.Parallel()
	two := func(r *routev1.Route) {
		r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 20))
		r.Spec.To.Weight = weight(80)
	}
	for name, c := range map[string]struct {
		route func(*routev1.Route)
		args  []string
		setup func(*env)
		over  func(*env) bool // whether to end the session now; nil: it ends by itself
	}{
		"all":               {nil, []string{"--weight", "100", "--exact", "--for", "1s"}, nil, nil},
		"all-but-the-floor": {nil, []string{"--weight", "100", "--for", "1s"}, nil, nil},
		"half-of-two":       {two, []string{"--weight", "50", "--for", "1s"}, nil, nil},
		"nothing":           {two, []string{"--weight", "0", "--for", "1s"}, nil, nil},
		"steps": {nil, []string{"--steps", "5,25", "--interval", "1s"}, nil, func(e *env) bool {
			s := record.Of(e.shop())
			return s != nil && s.Journal != nil && s.Journal.Asked == 25
		}},
		"unprovable": {func(r *routev1.Route) {
			r.Annotations = map[string]string{"haproxy.router.openshift.io/disable_cookies": "true"}
		}, []string{"--weight", "50", "--for", "1s"}, nil, nil},
		"an-empty-list": {func(r *routev1.Route) { r.Spec.AlternateBackends = []routev1.RouteTargetReference{} }, []string{"--weight", "30", "--for", "1s"}, nil, nil},
		"labelled-annotated": {func(r *routev1.Route) {
			r.Labels, r.Annotations = map[string]string{"team": "shop"}, map[string]string{"note": "x"}
		}, []string{"--weight", "20", "--for", "1s", "--replicas", "2"}, nil, nil},
		"isolated": {nil, []string{"--weight", "20", "--for", "1s", "--set-env", "web:KEY=value"}, (*env).addNetworkPolicy, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, w := newEnv(t), newWriteLog()
			e.deployment("web", 1, nil)
			e.deployment("b", 1, nil)
			e.route(c.route)
			if c.setup != nil {
				c.setup(e)
			}
			args := append([]string{"shift", "--route", "shop", "--router", routerIP, "--drain", "1s", "--no-guard"}, c.args...)
			run := e.start(e.proxied("alice", w.handle), args...)
			if c.over != nil {
				e.eventually("the session may end", func() bool { return c.over(e) })
				run.signal(syscall.SIGINT)
			}
			if r := run.wait(); r.code != 0 {
				t.Fatal(r)
			}
			w.golden(t, "shift-"+name)
		})
	}
	t.Run("a session continued by other commands", func(t *testing.T) {
		t.Parallel()
		e, w := newEnv(t), newWriteLog()
		e.deployment("web", 1, nil)
		e.route(nil)
		alice := e.proxied("alice", w.handle)
		e.plant("shop", record.Held, 10*time.Minute)
		for _, args := range [][]string{
			{"weight", "50", "--router", routerIP, "--no-guard"}, {"weight", "100", "--no-guard", "--exact"}, {"extend", "1m"}, {"rollback", "--drain", "0s"},
		} {
			if r := e.start(alice, append(args, "--route", "shop")...).wait(); r.code != 0 {
				t.Fatal(r)
			}
		}
		w.golden(t, "weight-extend-rollback")
	})
	t.Run("an original that was scaled down", func(t *testing.T) {
		t.Parallel()
		e, w := newEnv(t), newWriteLog()
		e.deployment("web", 1, nil)
		e.route(nil)
		e.autoscaler("web")
		e.plant("shop", record.Live, time.Hour)
		if r := e.start(e.proxied("alice", w.handle), "rollback", "--drain", "0s").wait(); r.code != 0 {
			t.Fatal(r)
		}
		w.golden(t, "rollback-in-steps")
	})
	t.Run("with a guard", func(t *testing.T) {
		t.Parallel()
		e, w := newGuardedEnv(t), newWriteLog()
		e.createShop()
		if r := e.start(e.proxied("alice", w.handle), "shift", "--route", "shop", "--router", routerIP, "--weight", "100", "--for", "1s", "--drain", "1s").wait(); r.code != 0 {
			t.Fatal(r)
		}
		w.golden(t, "shift-guarded")
	})
}

// Every write of the guard matches its golden file.
func TestWhatTheGuardWrites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]scenario{
		"held-and-expired": heldThenExpired,
		"abandoned":        {func(b *bareSession) { b.plant(record.Arming, time.Second) }, func(*bareSession, *running, string) {}},
		"journal-pruned": {plantLong, func(b *bareSession, g *running, guard string) {
			b.prune(g, guard, "/metadata/annotations/osc-debug.dev~1journal")
		}},
		"backend-gone": {plantLong, func(b *bareSession, g *running, guard string) {
			b.patch(g, guard, `[{"op":"remove","path":"/spec/alternateBackends"},{"op":"replace","path":"/spec/to/weight","value":100}]`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, w := newEnv(t), newWriteLog()
			b := e.newBareSession("shop")
			c.begin(b)
			g := e.startGuard("only", e.proxied(b.account, w.handle))
			c.disturb(b, g, "only")
			b.waitForEnd()
			w.golden(t, "guard-"+name)
		})
	}
}
