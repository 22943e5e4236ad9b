package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// Users are ordinary users of the development cluster. Each has a token and only the rights that a
// test or the demo grants.
var Users = []string{"alice", "bob", "carol"}

// pki is the cluster's certificate authority with its certificates; each start creates a new one.
type pki struct {
	dir    string
	ca     *x509.Certificate
	caKey  crypto.Signer
	caPEM  []byte
	tokens map[string]string // by user
}

func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "osc-debug development CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	p := &pki{dir: dir, ca: ca, caKey: key, tokens: map[string]string{},
		caPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if err := p.write("ca.crt", p.caPEM); err != nil {
		return nil, err
	}
	return p, p.issueAll()
}

// issueAll writes all certificates, the key of ServiceAccount tokens, and the users' tokens.
func (p *pki) issueAll() error {
	certs := []struct {
		name, cn, org string
		names         []string
	}{
		{"server", "kube-apiserver", "", []string{"127.0.0.1", topology.ClusterIP, topology.GatewayIP, topology.KubernetesIP, "localhost", "kubernetes.default.svc"}},
		{"admin", "admin", "system:masters", nil},
		{topology.RuncNode, "system:node:" + topology.RuncNode, "system:nodes", []string{topology.RuncNode, topology.GatewayIP}},
		{topology.KataNode, "system:node:" + topology.KataNode, "system:nodes", []string{topology.KataNode, topology.GuestIP}},
		{"router", "*.apps.osc-debug.test", "", []string{"*.apps.osc-debug.test"}},
	}
	for _, c := range certs {
		if err := p.issue(c.name, c.cn, c.org, c.names); err != nil {
			return fmt.Errorf("certificate %s: %w", c.name, err)
		}
	}
	sa, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := p.writeKey("sa.key", sa); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(sa.Public())
	if err != nil {
		return err
	}
	if err := p.write("sa.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})); err != nil {
		return err
	}
	var lines []byte
	for _, user := range Users {
		raw := make([]byte, 16)
		if _, err := rand.Read(raw); err != nil {
			return err
		}
		p.tokens[user] = hex.EncodeToString(raw)
		lines = fmt.Appendf(lines, "%s,%s,%s,\"developers\"\n", p.tokens[user], user, user)
	}
	return p.write("tokens.csv", lines)
}

// issue writes a certificate and its key; names are its DNS names and IP addresses.
func (p *pki) issue(name, cn, org string, names []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn},
		NotBefore: p.ca.NotBefore, NotAfter: p.ca.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if org != "" {
		template.Subject.Organization = []string{org}
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.ca, key.Public(), p.caKey)
	if err != nil {
		return err
	}
	if err := p.write(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return err
	}
	return p.writeKey(name+".key", key)
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) write(name string, data []byte) error { return os.WriteFile(p.path(name), data, 0o600) }

func (p *pki) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return p.write(name, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}
