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

// handler stands between a client and the API server; forward passes the request on and
// the answer back.
type handler func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc)

// proxied makes a kubeconfig like one of those there are, whose requests go through
// handle.
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
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // clients that are killed
	front := httptestServer(e, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handle(w, r, proxy.ServeHTTP)
	}))
	for _, c := range config.Clusters {
		c.Server, c.CertificateAuthorityData, c.InsecureSkipTLSVerify = front, nil, true
	}
	path := filepath.Join(e.t.TempDir(), "proxied.conf")
	e.ok(clientcmd.WriteToFile(*config, path))
	return path
}

// watching says whether a request is a watch, whose answer does not end by itself.
func watching(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "watch=") }

// requestLog lists requests, with the names of one run left out.
type requestLog struct {
	mu   sync.Mutex
	list []string
}

func (l *requestLog) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	l.mu.Lock()
	l.list = append(l.list, named(r))
	l.mu.Unlock()
	forward(w, r)
}

func (l *requestLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// killer ends a process, as kill -9 does, at an instant of its life.
type killer struct {
	instant
	seen    atomic.Int64
	process chan *running // the process, once it is started
	killed  atomic.Bool
}

func newKiller(at instant) *killer {
	return &killer{instant: at, process: make(chan *running, 1)}
}

func (k *killer) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
	if named(r) != k.request || k.seen.Add(1) != k.nth {
		if !k.killed.Load() { // what it sent at the same time does not arrive
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
	case watching(r): // its answer does not end by itself: when it begins
		forward(&begun{w, func() { go kill() }}, r)
	default:
		forward(w, r)
		kill()
	}
}

// begun tells when an answer begins.
type begun struct {
	http.ResponseWriter
	tell func()
}

func (b *begun) WriteHeader(code int) {
	b.ResponseWriter.WriteHeader(code)
	b.tell()
}

// Unwrap lets http.ResponseController flush.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// valve stops what the API server tells a watching client, as a network does that drops
// packets: the client's caches grow stale.
type valve struct {
	mu   sync.Mutex
	gate chan struct{} // closed: open
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
	if watching(r) {
		w = valved{w, v, r.Context()}
	}
	forward(w, r)
}

// valved is a watch's answer behind a valve.
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

// Unwrap lets http.ResponseController flush.
func (w valved) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// past answers lists of what a guard watches as they once were, and lets watches say
// nothing, until it is over.
type past struct {
	lists map[string][]byte // by path
	over  chan struct{}     // closed when it is

	mu    sync.Mutex
	asked map[string]int
}

// past holds on to the namespace's lists of now.
func (e *env) past() *past {
	e.t.Helper()
	p := &past{lists: map[string][]byte{}, over: make(chan struct{}), asked: map[string]int{}}
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

func (p *past) answered(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *past) handle(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
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
		// A list in the form of a watch: the client then falls back to the plain one.
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
	case watching(r):
		select {
		case <-r.Context().Done():
		case <-p.over: // the client asks again
		}
	default:
		p.mu.Lock()
		p.asked[r.URL.Path]++
		p.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(list)
	}
}
