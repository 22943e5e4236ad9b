package kube

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// What may be done twice is done again after an answer that may be another in a moment;
// everything else is done once.
func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		code         int
		header       string // Retry-After
		want         int64  // requests
	}{
		"read":                      {"GET", "/api/v1/pods", 503, "", 3},
		"deletion":                  {"DELETE", "/api/v1/pods/x", 500, "", 3},
		"dry run":                   {"PATCH", "/routes/x?dryRun=All", 504, "", 3},
		"question about rights":     {"POST", "/selfsubjectaccessreviews", 500, "", 3},
		"creation":                  {"POST", "/api/v1/pods", 503, "", 1},
		"patch":                     {"PATCH", "/routes/x", 503, "", 1},
		"watch":                     {"GET", "/api/v1/pods?watch=true", 503, "", 1},
		"exec":                      {"GET", "/api/v1/pods/x/exec", 503, "", 1},
		"refused":                   {"GET", "/api/v1/pods", 403, "", 1},
		"client-go waits for these": {"GET", "/api/v1/pods", 429, "1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != http.MethodGet && string(body) != "body" {
					t.Errorf("the body of request %d is %q", requests.Load()+1, body)
				}
				if requests.Add(1) < 3 {
					if c.header != "" {
						w.Header().Set("Retry-After", c.header)
					}
					w.WriteHeader(c.code)
				}
			}))
			defer server.Close()
			clock := &Clock{}
			transport, err := rest.TransportFor(Wrap(&rest.Config{Host: server.URL}, clock))
			if err != nil {
				t.Fatal(err)
			}
			var body io.Reader
			if c.method != http.MethodGet {
				body = strings.NewReader("body")
			}
			r, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if requests.Load() != c.want {
				t.Errorf("%d requests, wanted %d", requests.Load(), c.want)
			}
			if off := time.Until(clock.Now()).Abs(); off > 2*time.Second {
				t.Errorf("the clock learned from the answers is off by %s", off)
			}
		})
	}
}
