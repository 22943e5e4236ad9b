//go:build e2e

package e2e

import (
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// A holder of the guard's token can do what the guard does and nothing else. Rejected attempts are
// paired with allowed ones where possible.
func TestTheGuardsTokenIsOfLittleUse(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.deployment("b", 1, nil)
	change := func(r *routev1.Route) {
		r.Labels, r.Annotations = map[string]string{"team": "shop", record.Label: "bcdfghjk"}, map[string]string{"note": "x"}
		r.Spec.Path = "/shop"
		r.Spec.TLS = &routev1.TLSConfig{Termination: "edge"}
		r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("b", 50)}
	}
	e.route(func(r *routev1.Route) {
		change(r)
		r.Name, r.Spec.Host = "quiet", "quiet-"+r.Spec.Host
		delete(r.Labels, record.Label)
	})
	e.route(func(r *routev1.Route) { // as if someone had made the sandbox the primary backend
		change(r)
		r.Name, r.Spec.Host = "taken", "taken-"+r.Spec.Host
		delete(r.Labels, record.Label) // otherwise the guard would end the session
		r.Annotations[record.JournalKey] = `{"before":{"backends":[{"service":"web","weight":100}]}}`
		r.Spec.To.Name = record.ServiceName("bcdfghjk")
	})
	e.route(change) // created last: after a minute the guard would end the session that its label implies
	stolenCore, stolenRoutes := e.guardClients()
	try := func(route, patch string) error {
		_, err := stolenRoutes.RouteV1().Routes(e.ns).Patch(t.Context(), route, types.JSONPatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for name, c := range map[string]struct{ patch, says string }{
		"weights":            {`[{"op":"replace","path":"/spec/to/weight","value":90},{"op":"replace","path":"/spec/alternateBackends/0/weight","value":51}]`, ""},
		"our backend":        {`[{"op":"add","path":"/spec/alternateBackends/-","value":{"kind":"Service","name":"osc-debug-bcdfghjk","weight":0}}]`, ""},
		"our marks":          {`[{"op":"remove","path":"/metadata/labels/osc-debug.dev~1session"},{"op":"add","path":"/metadata/annotations/osc-debug.dev~1journal","value":"{}"}]`, ""},
		"host":               {`[{"op":"replace","path":"/spec/host","value":"evil.example.com"}]`, "weights and alternate backends only"},
		"path":               {`[{"op":"replace","path":"/spec/path","value":"/"}]`, "weights and alternate backends only"},
		"no path":            {`[{"op":"remove","path":"/spec/path"}]`, "weights and alternate backends only"},
		"port":               {`[{"op":"replace","path":"/spec/port/targetPort","value":"https"}]`, "weights and alternate backends only"},
		"termination":        {`[{"op":"replace","path":"/spec/tls/termination","value":"reencrypt"}]`, "weights and alternate backends only"},
		"certificate":        {`[{"op":"add","path":"/spec/tls/certificate","value":"x"}]`, "weights and alternate backends only"},
		"no TLS":             {`[{"op":"remove","path":"/spec/tls"}]`, "weights and alternate backends only"},
		"headers":            {`[{"op":"add","path":"/spec/httpHeaders","value":{"actions":{"request":[{"name":"X-User","action":{"type":"Set","set":{"value":"root"}}}]}}}]`, "weights and alternate backends only"},
		"wildcard":           {`[{"op":"add","path":"/spec/wildcardPolicy","value":"Subdomain"}]`, "weights and alternate backends only"},
		"subdomain":          {`[{"op":"add","path":"/spec/subdomain","value":"evil"}]`, "weights and alternate backends only"},
		"primary":            {`[{"op":"replace","path":"/spec/to/name","value":"evil"}]`, "does not choose a Route's primary backend"},
		"another backend":    {`[{"op":"add","path":"/spec/alternateBackends/-","value":{"kind":"Service","name":"evil","weight":50}}]`, "neither adds nor removes backends"},
		"backend removed":    {`[{"op":"remove","path":"/spec/alternateBackends"}]`, "neither adds nor removes backends"},
		"backend exchanged":  {`[{"op":"replace","path":"/spec/alternateBackends/0/name","value":"evil"}]`, "neither adds nor removes backends"},
		"label":              {`[{"op":"add","path":"/metadata/labels/other","value":"x"}]`, "labels the guard changes"},
		"label changed":      {`[{"op":"replace","path":"/metadata/labels/team","value":"x"}]`, "labels the guard changes"},
		"label removed":      {`[{"op":"remove","path":"/metadata/labels/team"}]`, "labels the guard changes"},
		"annotation":         {`[{"op":"add","path":"/metadata/annotations/haproxy.router.openshift.io~1balance","value":"source"}]`, "annotations the guard changes"},
		"annotation removed": {`[{"op":"remove","path":"/metadata/annotations/note"}]`, "annotations the guard changes"},
		"owner":              {`[{"op":"add","path":"/metadata/ownerReferences","value":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"y"}]}]`, "cannot set an ownerRef"},
		"finalizer":          {`[{"op":"add","path":"/metadata/finalizers","value":["evil.example.com/x"]}]`, "neither owners nor finalizers"},
	} {
		checkRefused(t, name, try("shop", c.patch), c.says)
	}
	for what, patch := range map[string]string{
		"weight":      `[{"op":"replace","path":"/spec/to/weight","value":90}]`,
		"mark":        `[{"op":"add","path":"/metadata/labels","value":{"osc-debug.dev/session":"bcdfghjk"}}]`,
		"journal":     `[{"op":"add","path":"/metadata/annotations","value":{"osc-debug.dev/journal":"{}"}}]`,
		"our backend": `[{"op":"add","path":"/spec/alternateBackends/-","value":{"kind":"Service","name":"osc-debug-bcdfghjk","weight":0}}]`,
	} {
		checkRefused(t, what+" of a Route without session", try("quiet", patch), "of Routes with a session only")
	}
	checkRefused(t, "managedFields of a Route whose marks are gone", try("quiet", `[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`), "")
	checkRefused(t, "the journal's primary again", try("taken", `[{"op":"replace","path":"/spec/to","value":{"kind":"Service","name":"web","weight":100}}]`), "")
	checkRefused(t, "an alternate as primary again", try("taken", `[{"op":"replace","path":"/spec/to","value":{"kind":"Service","name":"b","weight":50}},{"op":"remove","path":"/spec/alternateBackends"}]`), "")
	checkRefused(t, "another primary", try("taken", `[{"op":"replace","path":"/spec/to","value":{"kind":"Service","name":"evil","weight":50}}]`), "does not choose a Route's primary backend")
	_, err := stolenRoutes.RouteV1().Routes(e.ns).Create(t.Context(), &routev1.Route{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: routev1.RouteSpec{To: routev1.RouteTargetReference{Kind: "Service", Name: "web"}}}, metav1.CreateOptions{})
	checkRefused(t, "a Route", err, "forbidden")
	checkRefused(t, "the Route's end", stolenRoutes.RouteV1().Routes(e.ns).Delete(t.Context(), "shop", metav1.DeleteOptions{}), "forbidden")
	_, err = stolenCore.CoreV1().Secrets(e.ns).List(t.Context(), metav1.ListOptions{})
	checkRefused(t, "Secrets", err, "forbidden")
	_, err = stolenRoutes.RouteV1().Routes("default").List(t.Context(), metav1.ListOptions{})
	checkRefused(t, "Routes elsewhere", err, "forbidden")

	kata := "kata"
	labels := map[string]string{record.Label: "bcdfghjk"}
	for name, c := range map[string]struct {
		labels map[string]string
		class  *string
		says   string
	}{
		"sandbox":       {labels, &kata, ""},
		"not-labelled":  {nil, &kata, "objects of sessions only"},
		"not-a-sandbox": {labels, nil, "pods in sandboxes only"},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: c.labels}, Spec: corev1.PodSpec{RuntimeClassName: c.class, Containers: []corev1.Container{{Name: "web", Image: fakeImage}}}}
		onFakeNode(&p.Spec)
		_, err := core.CoreV1().Pods(e.ns).Create(t.Context(), p, metav1.CreateOptions{})
		e.ok(err)
		checkRefused(t, "pod "+name, stolenCore.CoreV1().Pods(e.ns).Delete(t.Context(), name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}), c.says)
	}
	checkRefused(t, "Service web", stolenCore.CoreV1().Services(e.ns).Delete(t.Context(), "web", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}), "objects of sessions only")
}

// checkRefused checks that an attempt is rejected with a message that contains says, or that it
// succeeds if says is "".
func checkRefused(t *testing.T, what string, err error, says string) {
	t.Helper()
	switch {
	case says == "" && err != nil:
		t.Errorf("%s: must be allowed, but was rejected: %v", what, err)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("%s: wanted a rejection with %q, got %v", what, says, err)
	}
}

// guardClients returns clients with a token of the guard's ServiceAccount.
func (e *env) guardClients() (kubernetes.Interface, routeclient.Interface) {
	e.t.Helper()
	return clientsOf(e.guardConfig())
}

func clientsOf(config *rest.Config) (kubernetes.Interface, routeclient.Interface) {
	return kubernetes.NewForConfigOrDie(config), routeclient.NewForConfigOrDie(config)
}

// guardConfig is a client's configuration with a token of the guard's ServiceAccount.
func (e *env) guardConfig() *rest.Config {
	e.t.Helper()
	token, err := core.CoreV1().ServiceAccounts(settings.Home).CreateToken(e.t.Context(), "osc-debug-guard", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	e.ok(err)
	admin, err := clientcmd.BuildConfigFromFlags("", kubeconfig("admin"))
	e.ok(err)
	return &rest.Config{Host: admin.Host, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData}}
}
