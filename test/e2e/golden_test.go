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

// writes records what a client writes to the cluster and the API server accepts: patches of
// Routes in their order, created and deleted objects and Events each sorted, dry runs apart.
type writes struct {
	mu      sync.Mutex
	patches []string
	objects []string // created, deleted, Events by reason
	names   map[string]string
}

func (w *writes) handle(out http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	watched := r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/apis/authentication.k8s.io/") &&
		!strings.Contains(r.URL.Path, "/apis/authorization.k8s.io/") && !strings.Contains(r.URL.Path, "/apis/coordination.k8s.io/") &&
		!strings.HasSuffix(r.URL.Path, "/exec") && !strings.Contains(r.URL.Path, "/configmaps/")
	if !watched {
		forward(out, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	a := &answered{ResponseWriter: out}
	forward(a, r)
	if a.code/100 == 2 {
		w.note(r, body)
	}
}

// answered remembers an answer's status.
type answered struct {
	http.ResponseWriter
	code int
}

// Unwrap lets http.ResponseController flush.
func (s *answered) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *answered) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (w *writes) note(r *http.Request, body []byte) {
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

// patchText is a JSON patch, an operation a line, with the journal readable.
func patchText(body []byte) string {
	var ops []map[string]any
	if err := json.Unmarshal(body, &ops); err != nil {
		return string(body)
	}
	var out strings.Builder
	for _, o := range ops {
		if o["path"] == "/metadata/managedFields" {
			var managers []string // their contents are the API server's
			entries, _ := o["value"].([]any)
			for _, e := range entries {
				entry, _ := e.(map[string]any)
				managers = append(managers, fmt.Sprint(entry["manager"]))
			}
			slices.Sort(managers) // the API server orders them by time, to the second
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

// objectText is a created object; of an Event only what scripts go by, not its words.
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

// What differs from run to run, in the order in which it is masked.
var (
	goldenUID     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	goldenTime    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	goldenVersion = regexp.MustCompile(`"(path":"/metadata/resourceVersion","value|resourceVersion)":"\d+"`)
	goldenID      = regexp.MustCompile(`\b[bcdfghjklmnpqrstvwxz2456789]{8}\b`)
	goldenNS      = regexp.MustCompile(`\b(e2e-[0-9a-f]{8}|guarded-[0-9a-f]{6}-\d+)\b`)
	goldenDigest  = regexp.MustCompile(`[a-z0-9./:-]+@sha256:[0-9a-f]{64}`)
	goldenHash    = regexp.MustCompile(`\b(web|b)-[0-9a-f]{5,10}-[a-z0-9]{5}\b`)
)

func (w *writes) mask(text string) string {
	text = goldenUID.ReplaceAllString(text, "UID")
	text = goldenTime.ReplaceAllString(text, "TIME")
	text = goldenVersion.ReplaceAllString(text, `"$1":"VERSION"`)
	text = goldenNS.ReplaceAllString(text, "NAMESPACE")
	text = goldenHash.ReplaceAllString(text, "$1-HASH")
	text = goldenDigest.ReplaceAllStringFunc(text, func(image string) string {
		if strings.Contains(image, strings.Repeat("1", 64)) {
			return image // the hand-made pods'
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

func newWrites() *writes { return &writes{names: map[string]string{}} }

func (w *writes) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	objects := slices.Sorted(slices.Values(w.objects))
	var out strings.Builder
	for _, p := range append(slices.Clone(w.patches), slices.Compact(objects)...) {
		out.WriteString(strings.TrimSpace(p) + "\n\n")
	}
	return out.String()
}

// golden compares what was written with the file of a name.
func (w *writes) golden(t *testing.T, name string) {
	t.Helper()
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
		t.Errorf("what the session wrote is not what %s says; got:\n%s", file, got)
	}
}

// Every write of a session, byte for byte but for names, times and versions: the contract with
// guards and commands of other versions, and with whoever reads a Route.
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
		over  func(*env) bool // when to end the session; nil: it ends itself
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
		"isolated": {nil, []string{"--weight", "20", "--for", "1s", "--set-env", "web:KEY=value"}, (*env).isolated, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, w := newEnv(t), newWrites()
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
	t.Run("a session that others see to", func(t *testing.T) {
		t.Parallel()
		e, w := newEnv(t), newWrites()
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
	t.Run("an original that shrank", func(t *testing.T) {
		t.Parallel()
		e, w := newEnv(t), newWrites()
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
		e, w := newGuardedEnv(t), newWrites()
		e.standard()
		if r := e.start(e.proxied("alice", w.handle), "shift", "--route", "shop", "--router", routerIP, "--weight", "100", "--for", "1s", "--drain", "1s").wait(); r.code != 0 {
			t.Fatal(r)
		}
		w.golden(t, "shift-guarded")
	})
}

// And every write of the guard.
func TestWhatTheGuardWrites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]course{
		"held-and-expired": heldAndOver,
		"abandoned":        {func(b *bareSession) { b.plant(record.Arming, time.Second) }, func(*bareSession, *running, string) {}},
		"journal-pruned": {long, func(b *bareSession, g *running, guard string) {
			b.prune(g, guard, "/metadata/annotations/osc-debug.dev~1journal")
		}},
		"backend-gone": {long, func(b *bareSession, g *running, guard string) {
			b.patch(g, guard, `[{"op":"remove","path":"/spec/alternateBackends"},{"op":"replace","path":"/spec/to/weight","value":100}]`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, w := newEnv(t), newWrites()
			b := e.bare("shop")
			c.begin(b)
			g := e.guard("only", e.proxied(b.account, w.handle))
			c.disturb(b, g, "only")
			b.ended()
			w.golden(t, "guard-"+name)
		})
	}
}
