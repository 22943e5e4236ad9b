package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/pkg/doctor"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/terminal"
	"github.com/osc-debug/osc-debug/pkg/trace"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// hostile are texts that others may put where a command prints them.
var hostile = map[string]string{
	"clear screen":      "\x1b[2J\x1b[H",
	"window title":      "\x1b]0;owned\x07",
	"clipboard":         "\x1b]52;c;cm0gLXJmIC8=\x07",
	"C1 control":        "\u009b31m",
	"right to left":     "\u202egnp.exe",
	"isolates":          "\u2066a\u2069b",
	"invisible":         "a\u200b\ufeffb",
	"carriage return":   "alice\rroot",
	"backspace":         "alice\b\b\b\b\broot",
	"another row":       "alice\nweb  zzzzzzzz  live  100%",
	"another message":   "x\nosc-debug: all is well",
	"another column":    "alice\troot",
	"line separator":    "a\u2028b\u0085c",
	"NUL":               "a\x00b",
	"not UTF-8":         "\xff\xfe\xc3",
	"1 MiB":             strings.Repeat("x", 1<<20),
	"64 KiB of escapes": strings.Repeat("\x1b", 1<<16),
}

// streamsInto returns an app as Main makes it, which prints into a buffer.
func streamsInto(out *bytes.Buffer) *app {
	w := terminal.NewWriter(out, false)
	return &app{
		IOStreams: genericiooptions.IOStreams{Out: w, ErrOut: w}, raw: genericiooptions.IOStreams{Out: out, ErrOut: out}, name: "osc-debug",
	}
}

// fillStrings sets every string in a value, also in its slices.
func fillStrings(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		for i := range v.NumField() {
			fillStrings(v.Field(i), text)
		}
	case reflect.Slice:
		for i := range v.Len() {
			fillStrings(v.Index(i), text)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fillStrings(v.Elem(), text)
		}
	}
}

// checkPrinted wants only printable text, and as many lines as for a harmless value. Only lines that begin
// in the first column count: others belong to the line above.
func checkPrinted(t *testing.T, what, got, harmless string) {
	t.Helper()
	lines := func(s string) (n int) {
		for line := range strings.Lines(s) {
			if !strings.HasPrefix(line, " ") {
				n++
			}
		}
		return n
	}
	if lines(got) != lines(harmless) {
		t.Errorf("%s: %d lines, want %d:\n%.300q", what, lines(got), lines(harmless), got)
	}
	checkPrintable(t, what, got)
}

func checkPrintable(t *testing.T, what, got string) {
	t.Helper()
	if i := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%s: %.20q is printed", what, got[i:])
	}
}

// Whatever others wrote into a session's objects, status prints one row for each session, and only
// printable characters. JSON has the exact values.
func TestHostileTextInStatus(t *testing.T) {
	row := func(text string) session.Status {
		s := session.Status{Backends: make([]session.BackendStatus, 2), Pods: make([]session.PodStatus, 2)}
		s.Backends[1].Sandbox = true
		fillStrings(reflect.ValueOf(&s).Elem(), text)
		return s
	}
	for _, format := range []string{"", "wide", "tree", "name", "yaml", "json"} {
		printed := func(text string) string {
			var out bytes.Buffer
			if err := streamsInto(&out).statusPrinter(&statusFlags{output: format, all: true}).print([]session.Status{row(text)}); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		for name, text := range hostile {
			what, got := fmt.Sprintf("status -o %q, %s", format, name), printed(text)
			switch format {
			case "yaml":
				var read struct{ Sessions []session.Status }
				if err := yaml.Unmarshal([]byte(got), &read); err != nil || len(read.Sessions) != 1 {
					t.Errorf("%s: %v", what, err)
				}
				checkPrintable(t, what, got)
			case "json":
				var read struct{ Sessions []session.Status }
				if err := json.Unmarshal([]byte(got), &read); err != nil || len(read.Sessions) != 1 {
					t.Fatalf("%s: %v", what, err)
				}
				if want := strings.ToValidUTF8(text, "\ufffd"); strings.ToValidUTF8(read.Sessions[0].User, "\ufffd") != want && !strings.Contains(name, "UTF-8") {
					t.Errorf("%s: read %.60q, want %.60q", what, read.Sessions[0].User, want)
				}
				checkPrinted(t, what, got, printed("alice"))
			default:
				checkPrinted(t, what, got, printed("alice"))
			}
		}
	}
}

// Errors, warnings and progress print what others wrote on lines that cannot be taken for our own.
func TestHostileTextInMessages(t *testing.T) {
	for name, text := range hostile {
		for what, print := range map[string]func(*app, string){
			"step":  func(a *app, s string) { a.report().Step("shift", s) },
			"note":  func(a *app, s string) { a.report().Note("pod %s", s) },
			"error": func(a *app, s string) { fmt.Fprintln(a.ErrOut, "osc-debug: "+coded(errors.New(s))) },
			"error by reason": func(a *app, s string) {
				fmt.Fprintln(a.ErrOut, "osc-debug: "+coded(reason.New(reason.RouterNotReached, "why", errors.New(s))))
			},
			"finding": func(a *app, s string) {
				a.printFinding(doctor.Finding{Check: "guard", Status: doctor.Missing, Detail: s, Mend: s})
			},
		} {
			var out, harmless bytes.Buffer
			print(streamsInto(&out), text)
			print(streamsInto(&harmless), "alice")
			checkPrinted(t, what+", "+name, out.String(), harmless.String())
		}
	}
}

// A traced program decides what a path and its own name are. Each event is one row, and JSON is exact.
func TestHostileTextInEvents(t *testing.T) {
	for _, format := range []string{"columns", "json"} {
		printed := func(text string) string {
			var out bytes.Buffer
			p, err := trace.NewPrinter(&out, format, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range gadget.All() {
				e := &gadget.Event{Gadget: g.Name, Comm: text, Payload: g.New()}
				fillTexts(reflect.ValueOf(e.Payload).Elem(), text)
				if err := p.Print(text, e); err != nil {
					t.Fatal(err)
				}
			}
			return out.String()
		}
		for name, text := range hostile {
			got := printed(text)
			checkPrinted(t, format+", "+name, got, printed("app"))
			if format == "json" {
				var e struct{ Comm string }
				if err := json.NewDecoder(strings.NewReader(got)).Decode(&e); err != nil || e.Comm != strings.ToValidUTF8(text, "\ufffd") && name != "not UTF-8" {
					t.Errorf("json, %s: read %.60q, %v", name, e.Comm, err)
				}
			}
		}
	}
}

// fillTexts sets all texts of an event's payload.
func fillTexts(payload reflect.Value, text string) {
	for i := range payload.NumField() {
		switch field := payload.Field(i).Addr().Interface().(type) {
		case *string:
			*field = text
		case *[]string:
			*field = []string{text, text}
		case *netip.AddrPort:
			*field = netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(text), 1)
		}
	}
}

// A dry run prints what others wrote into the workload and the Route: YAML and JSON that can
// be read, JSON with the exact values.
func TestHostileTextInPreview(t *testing.T) {
	for name, text := range hostile {
		meta := metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{"example.com/note": text}}
		p := &session.Preview{
			Service: &corev1.Service{ObjectMeta: meta}, Budget: &policyv1.PodDisruptionBudget{ObjectMeta: meta},
			Policies: []*networkingv1.NetworkPolicy{{ObjectMeta: meta}},
			Pods:     []*corev1.Pod{{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Args: []string{text}, Env: []corev1.EnvVar{{Name: "A", Value: text}}}}}}},
			Before:   hostileRoute(text), Live: hostileRoute(text),
		}
		p.Live.Spec.To.Name = text
		for _, format := range []string{"yaml", "json"} {
			var out bytes.Buffer
			if err := printPreview(nil, &out, p, format); err != nil {
				t.Fatal(err)
			}
			checkPrintable(t, "preview in "+format+", "+name, out.String())
			var pod corev1.Pod
			if format == "json" {
				var list struct{ Items []json.RawMessage }
				if err := json.Unmarshal(out.Bytes(), &list); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if err := json.Unmarshal(list.Items[3], &pod); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			} else if err := yaml.Unmarshal([]byte(strings.Split(out.String(), "---\n")[4]), &pod); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, want := pod.Spec.Containers[0].Args[0], strings.ToValidUTF8(text, "\ufffd"); format == "json" && got != want && name != "not UTF-8" {
				t.Errorf("preview in %s, %s: read %.60q, want %.60q", format, name, got, want)
			}
		}
	}
}

// Nothing shows the copies of a Route that tools keep in annotations: they may contain its TLS key.
func TestCopiesOfARouteAreNotShown(t *testing.T) {
	r := routeWithTLS()
	for _, key := range []string{"kubectl.kubernetes.io/last-applied-configuration", "kapp.k14s.io/original", "objectset.rio.cattle.io/applied", "example.com/backup"} {
		r.Annotations[key] = `{"spec":{"tls":{"key":"SECRET"}}}`
	}
	r.Annotations[record.JournalKey] = "{}"
	out := redact(r)
	if len(out.Annotations) != 1 || out.Annotations[record.JournalKey] != "{}" || out.Spec.TLS.Key != redacted {
		t.Errorf("annotations %v, key %q", out.Annotations, out.Spec.TLS.Key)
	}
	if r.Spec.TLS.Key != "SECRET" || len(r.Annotations) != 5 {
		t.Error("the Route itself was changed")
	}
}

func routeWithTLS() *routev1.Route {
	return &routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{}},
		Spec:       routev1.RouteSpec{TLS: &routev1.TLSConfig{Termination: routev1.TLSTerminationEdge, Key: "SECRET"}},
	}
}
