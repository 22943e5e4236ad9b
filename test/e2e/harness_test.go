//go:build e2e

// Package e2e runs the built command against the local cluster as an ordinary user, who has
// role edit in one namespace and no other rights. Most tests use fake pods: the test writes
// their status, but real servers answer behind real EndpointSlices and the real router.
// real_test.go runs real pods in the VM. 'make test' sets the environment up.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Addresses of the development cluster: the router, and this machine's addresses on the link
// to it, where the servers of fake pods listen.
const (
	routerIP    = "10.87.0.2"
	originalIP  = "10.87.0.11"
	sandboxIP   = "10.87.0.12"
	failingIP   = "10.87.0.13" // answers 500
	plainPort   = 18080
	tlsPort     = 18443
	hang        = 20 * time.Minute // longer than any step takes; it only ends a test that hangs
	fakeImage   = "quay.io/bpradipt/http-echo:latest"
	fakeImageID = "quay.io/bpradipt/http-echo@sha256:1111111111111111111111111111111111111111111111111111111111111111"
)

var (
	state  = os.Getenv("OSC_DEBUG_CLUSTER") // folder of the running cluster
	binary = os.Getenv("OSC_DEBUG")
	core   kubernetes.Interface
	routes routeclient.Interface
)

func TestMain(m *testing.M) {
	if state == "" || binary == "" {
		fmt.Fprintln(os.Stderr, "e2e: run 'make test', which starts the cluster and builds the command")
		os.Exit(1)
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(state, "admin.conf"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	config.QPS, config.Burst = 500, 1000
	beNice()
	core, routes = kubernetes.NewForConfigOrDie(config), routeclient.NewForConfigOrDie(config)
	if err := errors.Join(changed.watch(config), createFakeNode(fakeNode), startServers(), installGuard(), keepParameters(context.Background())); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// beNice makes the tests and their commands give way to the cluster, also on kernels that share the CPU among sessions
// first. It does not matter if that is not possible.
func beNice() { _ = os.WriteFile("/proc/self/autogroup", []byte("10"), 0) }

// startServers starts the servers that fake pods stand for.
func startServers() error {
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	for ip, handler := range map[string]http.HandlerFunc{
		originalIP: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "original") },
		sandboxIP: func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/slow":
				slowRequests.add(r.Host)
				time.Sleep(5 * time.Second)
			case "/tunnel":
				serveEcho(w)
				return
			}
			fmt.Fprint(w, "sandbox")
		},
		failingIP: func(w http.ResponseWriter, r *http.Request) { failedRequests.add(r.Host); http.Error(w, "broken", 500) },
	} {
		for _, port := range []int{plainPort, tlsPort} {
			listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, port))
			if err != nil {
				return err
			}
			server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
			if port == tlsPort {
				server.TLSConfig = certificate
				go server.ServeTLS(listener, "", "") // until the process ends
			} else {
				go server.Serve(listener) // until the process ends
			}
		}
	}
	return nil
}

// serveEcho upgrades a connection, as WebSockets do, and echoes what it receives.
func serveEcho(w http.ResponseWriter) {
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	_, _ = io.Copy(conn, both)
}

// env is the namespace of one test.
type env struct {
	t         *testing.T
	ns        string
	sandboxIP string
	node      string    // of planted sandboxes; "" means fakeNode
	owner     types.UID // UID of the Route that owns sandbox pods which the test creates itself

	mu       sync.Mutex
	commands []*running // in the order of their start, for the report of a failed test
}

// newEnv creates a namespace in which alice has role edit. It also plays the kubelet there:
// pods become Running and ready, with an address.
func newEnv(t *testing.T) *env {
	t.Helper()
	mayBegin(t)
	name := fmt.Sprintf("e2e-%08x", rand.Uint32())
	if _, err := core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return newEnvIn(t, name)
}

// newEnvIn is newEnv in an existing namespace, which is emptied after the test.
func newEnvIn(t *testing.T, namespace string) *env {
	t.Helper()
	e := &env{t: t, ns: namespace, sandboxIP: sandboxIP}
	t.Cleanup(func() { e.ok(emptyNamespace(context.Background(), namespace)) })
	t.Cleanup(e.report)
	e.eventually("the namespace has its default ServiceAccount", func() bool {
		_, err := core.CoreV1().ServiceAccounts(e.ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	e.bind("alice", "edit")
	var kubelet sync.WaitGroup
	stop := make(chan struct{})
	kubelet.Go(func() { e.playKubelet(stop) })
	t.Cleanup(func() { close(stop); kubelet.Wait() })
	return e
}

// emptyNamespace deletes what runs in a namespace. The namespace stays until the cluster is stopped: its deletion would
// cost the API server a hundred requests, and the guard would read all other namespaces again.
func emptyNamespace(ctx context.Context, namespace string) error {
	background := metav1.DeletePropagationBackground
	o, all := metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}
	apps := core.AppsV1()
	return errors.Join(
		routes.RouteV1().Routes(namespace).DeleteCollection(ctx, o, all),
		core.AutoscalingV2().HorizontalPodAutoscalers(namespace).DeleteCollection(ctx, o, all),
		apps.Deployments(namespace).DeleteCollection(ctx, o, all),
		apps.StatefulSets(namespace).DeleteCollection(ctx, o, all),
		apps.DaemonSets(namespace).DeleteCollection(ctx, o, all),
		apps.ReplicaSets(namespace).DeleteCollection(ctx, o, all),
		core.CoreV1().ReplicationControllers(namespace).DeleteCollection(ctx, o, all),
		core.BatchV1().CronJobs(namespace).DeleteCollection(ctx, o, all),
		core.BatchV1().Jobs(namespace).DeleteCollection(ctx, o, all),
		core.CoreV1().Pods(namespace).DeleteCollection(ctx, o, all),
	)
}

// snapshot returns the parts of Route shop that must be the same before and after a session:
// spec, labels and annotations. It fails the test if managedFields has an entry of osc-debug.
func (e *env) snapshot() string {
	e.t.Helper()
	raw, err := core.CoreV1().RESTClient().Get().AbsPath("/apis/route.openshift.io/v1/namespaces/" + e.ns + "/routes/shop").DoRaw(e.t.Context())
	e.ok(err)
	var object struct {
		Spec     json.RawMessage
		Metadata struct {
			Labels, Annotations json.RawMessage
			ManagedFields       []metav1.ManagedFieldsEntry
		}
	}
	e.ok(json.Unmarshal(raw, &object))
	for _, f := range object.Metadata.ManagedFields {
		if f.Manager == record.FieldManager {
			e.t.Errorf("managedFields still has an entry of osc-debug: %s", f.FieldsV1)
		}
	}
	return fmt.Sprintf("spec %s\nlabels %s\nannotations %s", object.Spec, object.Metadata.Labels, object.Metadata.Annotations)
}

// checkNothingLeft fails the test if an object of any session exists.
func (e *env) checkNothingLeft() {
	e.t.Helper()
	pods, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: record.Label})
	e.ok(err)
	services, err := core.CoreV1().Services(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: record.Label})
	e.ok(err)
	e.eventually("no PodDisruptionBudget or NetworkPolicy is left", func() bool { // the garbage collector deletes them
		budgets, err := core.PolicyV1().PodDisruptionBudgets(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: record.Label})
		e.ok(err)
		policies, err := core.NetworkingV1().NetworkPolicies(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: record.Label})
		e.ok(err)
		return len(budgets.Items)+len(policies.Items) == 0
	})
	for _, p := range pods.Items {
		e.t.Errorf("pod %s is left", p.Name)
	}
	for _, s := range services.Items {
		e.t.Errorf("Service %s is left", s.Name)
	}
}

// summarize logs a line that 'make e2e' also prints at its end, whether the test passes or not.
func summarize(t *testing.T, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	t.Log(text)
	f, err := os.OpenFile(filepath.Join(state, "summary"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintf(f, "  %s: %s\n", t.Name(), text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

func (e *env) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// eventually waits until a condition holds. Its timeout only ends a test that hangs: 'make bench'
// and 'make soak' measure how long things take.
func (e *env) eventually(what string, holds func() bool) {
	e.t.Helper()
	e.waitFor(pollInterval, what, holds)
}

// eventuallyPolled is eventually for a condition that no watch reports, such as the router's
// answers: it checks every 100 ms.
func (e *env) eventuallyPolled(what string, holds func() bool) {
	e.t.Helper()
	e.waitFor(100*time.Millisecond, what, holds)
}

func (e *env) waitFor(pause time.Duration, what string, holds func() bool) {
	e.t.Helper()
	if !waitUntil(e.t, e.ns, hang, pause, what, holds) {
		e.t.Fatalf("timed out after %s waiting: %s", hang, what)
	}
}

// get sends one request to the Route as a new client and returns the body or the error.
func (e *env) get(host string) string {
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, "http://"+routerIP+"/", nil)
	e.ok(err)
	req.Host = host
	resp, err := (&http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, _ = body.ReadFrom(resp.Body)
	return body.String()
}
