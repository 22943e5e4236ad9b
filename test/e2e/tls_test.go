//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"
)

// requestsByHost counts requests by their host.
type requestsByHost struct{ hosts sync.Map }

// Requests that reached the server which answers 500, and slow requests that have begun.
var failedRequests, slowRequests requestsByHost

func (r *requestsByHost) add(host string) {
	count, _ := r.hosts.LoadOrStore(host, &atomic.Int64{})
	count.(*atomic.Int64).Add(1)
}

func (r *requestsByHost) count(host string) int64 {
	if count, ok := r.hosts.Load(host); ok {
		return count.(*atomic.Int64).Load()
	}
	return 0
}

// serverCA is the servers' self-signed certificate, which re-encrypting Routes trust.
var serverCA string

func selfSigned() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e"}, DNSNames: []string{"e2e"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	serverCA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

// startTLSServer starts a server and returns its URL. It serves over TLS because clients send no
// tokens over plain HTTP.
func startTLSServer(e *env, h http.Handler) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // killed clients would fill the log
	s.StartTLS()
	e.t.Cleanup(s.Close)
	return s.URL
}
