package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// hostileRoute has a live session, with a text wherever the API server lets users write one.
func hostileRoute(text string) *routev1.Route {
	const id = "bcdfghjk"
	all, none := int32(100), int32(0)
	r := &routev1.Route{
		TypeMeta: metav1.TypeMeta{APIVersion: "route.openshift.io/v1", Kind: "Route"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", UID: "u", ResourceVersion: "1", Labels: map[string]string{record.Label: id},
			Annotations: map[string]string{"example.com/note": text},
		},
		Spec: routev1.RouteSpec{
			Host: text, Path: text, To: routev1.RouteTargetReference{Kind: "Service", Name: "web", Weight: &none},
			AlternateBackends: []routev1.RouteTargetReference{{Kind: "Service", Name: record.ServiceName(id), Weight: &all}},
		},
		Status: routev1.RouteStatus{Ingress: []routev1.RouteIngress{{Host: text, RouterName: text, Conditions: []routev1.RouteIngressCondition{{Type: routev1.RouteAdmitted, Status: corev1.ConditionFalse, Reason: text, Message: text}}}}},
	}
	j := record.Journal{
		Version: record.JournalVersion, Session: id, State: record.Live, RouteUID: "u", User: record.CutText(text), Workload: record.CutText(text),
		Expires: metav1.NewTime(time.Now().Add(time.Hour)), Before: record.Weights{Backends: []record.Weight{{Service: "web", Weight: &all}}, NoList: true}, Set: record.WeightsOf(r),
	}
	r.Annotations[record.JournalKey], _ = j.Encode()
	return r
}

// hostileServer is an API server with a hostile Route and a hostile pod, which rejects everything else with a
// hostile message.
func hostileServer(t *testing.T, text string) *httptest.Server {
	route := hostileRoute(text)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: record.PodName("bcdfghjk", 0), Labels: route.Labels, Annotations: map[string]string{record.RouteNameKey: text, record.RouteUIDKey: text}},
		Spec: corev1.PodSpec{NodeName: text}, Status: corev1.PodStatus{Phase: corev1.PodPhase(text), Reason: text, Message: text}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var answer runtime.Object
		switch path := r.URL.Path; {
		case r.Method == http.MethodGet && strings.HasSuffix(path, "/routes/web"):
			answer = route
		case r.Method == http.MethodGet && strings.HasSuffix(path, "/routes"):
			answer = &routev1.RouteList{TypeMeta: metav1.TypeMeta{APIVersion: "route.openshift.io/v1", Kind: "RouteList"}, Items: []routev1.Route{*route}}
		case r.Method == http.MethodGet && strings.HasSuffix(path, "/pods") && !r.URL.Query().Has("watch"):
			answer = &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{*pod}}
		case r.Method == http.MethodGet && strings.HasSuffix(path, "/endpointslices") && !r.URL.Query().Has("watch"):
			answer = &discoveryv1.EndpointSliceList{TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSliceList"}}
		default:
			w.WriteHeader(http.StatusForbidden)
			answer = &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: text}
		}
		_ = json.NewEncoder(w).Encode(answer) // the client may have gone
	}))
	t.Cleanup(server.Close)
	return server
}

// Every verb prints only printable characters, and no line that someone else wrote, whatever the API server
// answers.
func TestHostileTextThroughEveryVerb(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			server := hostileServer(t, text)
			config := filepath.Join(t.TempDir(), "config")
			kubeconfig := `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"` + server.URL + `"}}],"contexts":[{"name":"c","context":{"cluster":"c","namespace":"shop"}}],"current-context":"c"}`
			if err := os.WriteFile(config, []byte(kubeconfig), 0o600); err != nil {
				t.Fatal(err)
			}
			shift := "shift web --weight 10 --sidecar-image quay.io/shop/tools@sha256:" + strings.Repeat("0", 64)
			for _, line := range []string{
				"status", "status -A", "status -o wide", "status -o tree", "status -o name", "status -o json", "status -o yaml", "status --route web",
				"weight 50 --route web", "extend 10m --route web",
				"rollback --route web --drain 0s --timeout 2s", "rollback --all --drain 0s --timeout 2s", "rollback --route web --wait=false",
				shift, shift + " --dry-run client -o json", shift + " --dry-run server",
				"doctor", "doctor web", "doctor web -o json", "exec --route web -- true",
			} {
				var out, errOut bytes.Buffer
				code := Main(append([]string{"osc-debug"}, append([]string{"--kubeconfig", config}, strings.Fields(line)...)...), strings.NewReader(""), &out, &errOut)
				if reads := strings.HasPrefix(line, "status"); code == codeUsage || reads && (code != codeOK || !strings.Contains(out.String(), "bcdfghjk")) {
					t.Errorf("%s: exit code %d: %.300s%.300s", line, code, out.String(), errOut.String())
				}
				for stream, got := range map[string]string{"stdout": out.String(), "stderr": errOut.String()} {
					checkPrintable(t, line+" "+stream, got)
					for _, forged := range []string{"\nweb  zzzzzzzz", "\nosc-debug: all is well"} {
						if strings.Contains("\n"+got, forged) {
							t.Errorf("%s: %s has a forged line:\n%s", line, stream, got)
						}
					}
				}
				if strings.HasSuffix(line, "json") {
					for stream, got := range map[string]string{"stdout": out.String(), "stderr": errOut.String()} {
						for d := json.NewDecoder(strings.NewReader(got)); d.More(); {
							var value any
							if err := d.Decode(&value); err != nil {
								t.Errorf("%s: %s is not JSON: %v: %.300s", line, stream, err, got)
								break
							}
						}
					}
				}
			}
		})
	}
}
