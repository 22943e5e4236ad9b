package kube

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// A response that nobody reads stops the server when the buffer is full.
func TestSmallBuffers(t *testing.T) {
	var sent atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 16<<10)
		for r.Context().Err() == nil {
			n, err := w.Write(chunk)
			if err != nil {
				return
			}
			sent.Add(int64(n))
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	most := func(config *rest.Config) int64 {
		t.Helper()
		config.Host, config.TLSClientConfig = server.URL, rest.TLSClientConfig{Insecure: true}
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		sent.Store(0)
		response, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.ProtoMajor != 2 {
			t.Fatalf("the response came by %s", response.Proto)
		}
		for last := int64(-1); last != sent.Load(); time.Sleep(200 * time.Millisecond) { // until the server is stopped
			last = sent.Load()
		}
		return sent.Load()
	}
	small := most(WithSmallBuffers(&rest.Config{UserAgent: "small"}))
	if small == 0 || small > 2*streamBuffer {
		t.Errorf("the server could send %d bytes, want about %d", small, streamBuffer)
	}
}
