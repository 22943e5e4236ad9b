//go:build e2e

package e2e

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// handler handles a request between a client and the API server; forward sends the request on and
// the response back.
type handler func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc)

// proxied returns the path of a kubeconfig with like's credentials whose requests go through handle.
// like is a user's name or the path of a kubeconfig.
func (e *env) proxied(like string, handle handler) string {
	e.t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig(like))
	e.ok(err)
	admin, err := clientcmd.BuildConfigFromFlags("", kubeconfig("admin"))
	e.ok(err)
	transport, err := rest.TransportFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData, NextProtos: []string{"http/1.1"}}})
	e.ok(err)
	server, err := url.Parse(admin.Host)
	e.ok(err)
	proxy := httputil.NewSingleHostReverseProxy(server)
	proxy.Transport, proxy.FlushInterval = transport, -1
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // killed clients would fill the log
	front := startTLSServer(e, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handle(w, r, proxy.ServeHTTP)
	}))
	for _, c := range config.Clusters {
		c.Server, c.CertificateAuthorityData, c.InsecureSkipTLSVerify = front, nil, true
	}
	path := filepath.Join(e.t.TempDir(), "proxied.conf")
	e.ok(clientcmd.WriteToFile(*config, path))
	return path
}

// isWatch says whether a request is a watch, whose response does not end by itself.
func isWatch(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "watch=") }

// requestLog records the names of requests, as requestName returns them.
type requestLog struct {
	mu   sync.Mutex
	list []string
}

func (l *requestLog) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	l.mu.Lock()
	l.list = append(l.list, requestName(r))
	l.mu.Unlock()
	forward(w, r)
}

func (l *requestLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// killer kills a process with SIGKILL at an instant of its life.
type killer struct {
	instant
	seen    atomic.Int64
	process chan *running // receives the process once it has started
	killed  atomic.Bool
}

func newKiller(at instant) *killer {
	return &killer{instant: at, process: make(chan *running, 1)}
}

func (k *killer) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	if requestName(r) != k.request || k.seen.Add(1) != k.nth {
		if !k.killed.Load() { // requests that it sent concurrently are dropped
			forward(w, r)
		}
		return
	}
	kill := sync.OnceFunc(func() {
		run := <-k.process
		k.killed.Store(true)
		_ = run.cmd.Process.Kill()
		<-run.done
	})
	switch {
	case !k.after:
		kill()
	case isWatch(r): // its response does not end by itself, so kill when it begins
		forward(&headerHook{w, func() { go kill() }}, r)
	default:
		forward(w, r)
		kill()
	}
}

// headerHook calls onHeader when a response begins.
type headerHook struct {
	http.ResponseWriter
	onHeader func()
}

func (h *headerHook) WriteHeader(code int) {
	h.ResponseWriter.WriteHeader(code)
	h.onHeader()
}

// Unwrap gives http.ResponseController access to Flush.
func (h *headerHook) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// valve can hold back watch events, as a network that drops packets does, so that the client's
// caches become stale.
type valve struct {
	mu   sync.Mutex
	gate chan struct{} // a closed channel means that the valve is open
}

func newValve() *valve {
	v := &valve{gate: make(chan struct{})}
	close(v.gate)
	return v
}

func (v *valve) shut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gate = make(chan struct{})
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.gate)
}

func (v *valve) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	if isWatch(r) {
		w = valved{w, v, r.Context()}
	}
	forward(w, r)
}

// valved is the response of a watch behind a valve.
type valved struct {
	http.ResponseWriter
	*valve
	ctx context.Context
}

func (w valved) Write(p []byte) (int, error) {
	w.mu.Lock()
	gate := w.gate
	w.mu.Unlock()
	select {
	case <-gate:
		return w.ResponseWriter.Write(p)
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
}

// Unwrap gives http.ResponseController access to Flush.
func (w valved) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// oldLists answers a guard's list requests with lists of an earlier time and sends no watch events,
// until over is closed.
type oldLists struct {
	lists map[string][]byte // by path
	over  chan struct{}     // closed at the end

	mu    sync.Mutex
	asked map[string]int // answered list requests, by path
}

// captureLists keeps the namespace's current lists.
func (e *env) captureLists() *oldLists {
	e.t.Helper()
	p := &oldLists{lists: map[string][]byte{}, over: make(chan struct{}), asked: map[string]int{}}
	for _, path := range []string{
		"/apis/route.openshift.io/v1/namespaces/" + e.ns + "/routes", "/api/v1/namespaces/" + e.ns + "/services",
		"/api/v1/namespaces/" + e.ns + "/pods", "/apis/discovery.k8s.io/v1/namespaces/" + e.ns + "/endpointslices",
	} {
		body, err := core.CoreV1().RESTClient().Get().AbsPath(path).Param("labelSelector", record.Label).
			SetHeader("Accept", "application/json").Do(e.t.Context()).Raw()
		e.ok(err)
		p.lists[path] = body
	}
	return p
}

func (p *oldLists) answered(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *oldLists) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	list, known := p.lists[r.URL.Path]
	select {
	case <-p.over:
		known = false
	default:
	}
	switch {
	case !known || r.Method != http.MethodGet || r.URL.Query().Get("labelSelector") != record.Label: // a live read names a session
		forward(w, r)
	case strings.Contains(r.URL.RawQuery, "sendInitialEvents="):
		// A list requested as a watch: with this error the client falls back to a plain list.
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
	case isWatch(r):
		select {
		case <-r.Context().Done():
		case <-p.over: // the client then lists and watches again
		}
	default:
		p.mu.Lock()
		p.asked[r.URL.Path]++
		p.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(list)
	}
}
