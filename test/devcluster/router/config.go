package router

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
)

// balances matches the values that annotation haproxy.router.openshift.io/balance may have.
var balances = regexp.MustCompile(`^(roundrobin|leastconn|source|random)$`)

// timeouts matches the values that annotation haproxy.router.openshift.io/timeout may have.
var timeouts = regexp.MustCompile(`^[1-9][0-9]{0,5}(us|ms|s|m|h|d)?$`)

// writer writes HAProxy's configuration into a folder.
type writer struct {
	dir, address string
	certificate  string // PEM file with key, for Routes without their own certificate
	serviceCA    string // CA of the Services' serving certificates, for reencrypt Routes without a CA
	dynamic      bool   // HAProxy computes the servers' cookies, also for those added later
}

func (w writer) path(name string) string { return filepath.Join(w.dir, name) }

// page503 is the response to requests that no server can answer.
const page503 = "HTTP/1.0 503 Service Unavailable\r\nPragma: no-cache\r\nCache-Control: private, max-age=0, no-cache, no-store\r\n" +
	"Connection: close\r\nContent-Type: text/html\r\n\r\n<html><body><h1>Application is not available</h1>" +
	"<p>The development router has no server for this request.</p></body></html>\n"

// files returns the configuration and the files that it refers to, by file name.
func (w writer) files(backends []backend) map[string]string {
	out := map[string]string{"503.http": page503}
	var conf strings.Builder
	fmt.Fprintf(&conf, preamble, w.path("haproxy.sock"), w.path("503.http"), w.address,
		w.path("http.map"), w.path("sni.map"), w.path("tls.sock"), w.path("tls.sock"), w.path("certs.list"), w.path("https.map"))
	maps := map[string][]string{"http.map": nil, "https.map": nil, "sni.map": nil, "redirect.map": nil}
	certs := []string{w.certificate}
	for _, b := range backends {
		w.maps(b, maps)
		if tls := b.route.Spec.TLS; tls != nil && tls.Certificate != "" {
			name := "cert-" + b.route.Namespace + "-" + b.route.Name + ".pem"
			out[name] = tls.Certificate + "\n" + tls.Key + "\n" + tls.CACertificate + "\n"
			certs = append(certs, w.path(name)+" "+b.route.Spec.Host)
		}
		if tls := b.route.Spec.TLS; tls != nil && tls.DestinationCACertificate != "" {
			out["ca-"+b.route.Namespace+"-"+b.route.Name+".pem"] = tls.DestinationCACertificate + "\n"
		}
		w.backend(&conf, b)
	}
	for name, lines := range maps {
		// Longer expressions come first, so that a host with a path matches before the host alone.
		sort.Slice(lines, func(i, j int) bool {
			if len(lines[i]) != len(lines[j]) {
				return len(lines[i]) > len(lines[j])
			}
			return lines[i] < lines[j]
		})
		out[name] = strings.Join(lines, "\n") + "\n"
	}
	out["certs.list"] = strings.Join(certs, "\n") + "\n"
	out["haproxy.cfg"] = conf.String()
	return out
}

// preamble is the part of the configuration before the Routes' backends.
const preamble = `# Written by the development router. Test equipment: not OpenShift's router.
global
  maxconn 8000
  stats socket %s mode 600 level admin expose-fd listeners
  tune.ssl.default-dh-param 2048

defaults
  mode http
  maxconn 8000
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout http-request 10s
  timeout http-keep-alive 300s
  timeout tunnel 1h
  errorfile 503 %s

frontend public
  bind %[3]s:80
  tcp-request inspect-delay 5s
  tcp-request content accept if HTTP
  use_backend %%[base,map_reg(%[4]s)]
  default_backend openshift_default

frontend public_ssl
  mode tcp
  bind %[3]s:443
  tcp-request inspect-delay 5s
  tcp-request content accept if { req_ssl_hello_type 1 }
  use_backend %%[req.ssl_sni,lower,map_reg(%[5]s)] if { req.ssl_sni,lower,map_reg(%[5]s) -m found }
  default_backend be_sni

backend be_sni
  mode tcp
  server fe_sni unix@%[6]s weight 1 send-proxy

frontend fe_sni
  bind unix@%[7]s ssl crt-list %[8]s accept-proxy
  use_backend %%[base,map_reg(%[9]s)]
  default_backend openshift_default

backend openshift_default
  http-request return status 503 errorfile %[2]s
`

// maps adds the Route to the maps from host and path to backend.
func (w writer) maps(b backend, maps map[string][]string) {
	spec := b.route.Spec
	host := regexp.QuoteMeta(spec.Host)
	if spec.WildcardPolicy == routev1.WildcardPolicySubdomain {
		_, domain, _ := strings.Cut(spec.Host, ".")
		host = `[^.]*\.` + regexp.QuoteMeta(domain)
	}
	base := "^" + host + `(:[0-9]+)?(/.*)?$`
	if spec.Path != "" && spec.Path != "/" {
		base = "^" + host + `(:[0-9]+)?` + regexp.QuoteMeta(strings.TrimSuffix(spec.Path, "/")) + `([/?].*)?$`
	}
	add := func(name, expr string) { maps[name] = append(maps[name], expr+" "+prefix(b.route)+b.key()) }
	if spec.TLS == nil {
		add("http.map", base)
		return
	}
	if spec.TLS.Termination == routev1.TLSTerminationPassthrough {
		add("sni.map", "^"+host+"$")
		return
	}
	add("https.map", base)
	if spec.TLS.InsecureEdgeTerminationPolicy == routev1.InsecureEdgeTerminationPolicyAllow {
		add("http.map", base)
	}
}

// prefix returns the prefix of the Route's backend in HAProxy, which depends on its TLS termination.
func prefix(route *routev1.Route) string {
	if route.Spec.TLS == nil {
		return "be_http:"
	}
	switch route.Spec.TLS.Termination {
	case routev1.TLSTerminationPassthrough:
		return "be_tcp:"
	case routev1.TLSTerminationReencrypt:
		return "be_secure:"
	default:
		return "be_edge_http:"
	}
}

// backend writes the backend section of a Route.
func (w writer) backend(conf *strings.Builder, b backend) {
	passthrough := prefix(b.route) == "be_tcp:"
	fmt.Fprintf(conf, "\nbackend %s%s\n", prefix(b.route), b.key())
	if passthrough {
		conf.WriteString("  mode tcp\n  hash-type consistent\n")
	} else {
		conf.WriteString("  mode http\n  option redispatch\n  option forwardfor\n")
	}
	services, servers := b.active()
	balance := "random"
	if passthrough {
		balance = "source"
	}
	if services > 1 {
		balance = "roundrobin"
	}
	if wanted := b.route.Annotations["haproxy.router.openshift.io/balance"]; balances.MatchString(wanted) {
		balance = wanted
	}
	fmt.Fprintf(conf, "  balance %s\n  timeout check 5000ms\n", balance)
	if timeout := b.route.Annotations["haproxy.router.openshift.io/timeout"]; timeouts.MatchString(timeout) {
		fmt.Fprintf(conf, "  timeout server %s\n", timeout)
	}
	cookies := !passthrough && !isTrue(b.route.Annotations["haproxy.router.openshift.io/disable_cookies"])
	if cookies {
		fmt.Fprintf(conf, "  cookie %s insert indirect nocache httponly%s", b.cookieName(), secureAttributes(b.route))
		if w.dynamic {
			fmt.Fprintf(conf, " dynamic\n  dynamic-cookie-key %s", b.hash())
		}
		conf.WriteString("\n")
	}
	weights := serverWeights(b.services)
	for _, s := range b.servedServices() {
		for _, srv := range s.servers {
			fmt.Fprintf(conf, "  server %s %s:%d", srv.id, srv.ip, srv.port)
			if !passthrough && !w.dynamic {
				fmt.Fprintf(conf, " cookie %s", srv.cookie)
			}
			fmt.Fprintf(conf, " weight %d%s", weights[s.name], w.tls(b.route, s.name))
			if servers > 1 {
				conf.WriteString(" check inter 5000ms")
			}
			conf.WriteString("\n")
		}
	}
}

// secureAttributes returns the attributes of the Route's cookie for Routes that are served over HTTPS
// only.
func secureAttributes(route *routev1.Route) string {
	if route.Spec.TLS == nil || route.Spec.TLS.InsecureEdgeTerminationPolicy == routev1.InsecureEdgeTerminationPolicyAllow {
		return ""
	}
	return " secure attr SameSite=None"
}

// tls returns a server's TLS options for a reencrypt Route. The server's certificate is verified with
// the Route's destination CA or, if it has none, with the service CA and the Service's name.
func (w writer) tls(route *routev1.Route, service string) string {
	if prefix(route) != "be_secure:" {
		return ""
	}
	if route.Spec.TLS.DestinationCACertificate != "" {
		return " ssl verify required ca-file " + w.path("ca-"+route.Namespace+"-"+route.Name+".pem")
	}
	return fmt.Sprintf(" ssl verifyhost %s.%s.svc verify required ca-file %s", service, route.Namespace, w.serviceCA)
}

func isTrue(s string) bool { return s == "true" || s == "TRUE" || s == "True" || s == "1" }

// write writes the configuration to disk and says whether it differs from the previous one.
func (w writer) write(backends []backend) (changed bool, err error) {
	files := w.files(backends)
	for name, text := range files {
		old, err := os.ReadFile(w.path(name))
		if err == nil && string(old) == text {
			continue
		}
		changed = true
		if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
			return false, err
		}
	}
	return changed, nil
}
