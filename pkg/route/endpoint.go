package route

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Endpoint is one HAProxy server: a ready address on a port that the Route uses.
type Endpoint struct {
	Service  string
	Pod      string // "" if the address is not that of a pod
	PortName string
	IP       string
	Port     int32
}

// Endpoints returns the servers that the router creates for a Service's EndpointSlices: the ready
// addresses on the port with the name or number in spec.port, or on every port if the Route has no
// spec.port. The router ignores loopback and link-local addresses.
func Endpoints(r *routev1.Route, service string, slices []discoveryv1.EndpointSlice) []Endpoint {
	var out []Endpoint
	seen := map[Endpoint]bool{}
	for _, slice := range slices {
		if slice.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, port := range slice.Ports {
			if port.Port == nil || !UsesPort(r, portName(port), *port.Port) {
				continue
			}
			for _, e := range readyEndpoints(slice) {
				for _, address := range e.Addresses {
					endpoint := Endpoint{Service: service, PortName: portName(port), IP: address, Port: *port.Port}
					if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
						endpoint.Pod = e.TargetRef.Name
					}
					if isRoutable(address) && !seen[endpoint] {
						seen[endpoint] = true
						out = append(out, endpoint)
					}
				}
			}
		}
	}
	return out
}

// UsesPort reports whether the Route sends traffic to the endpoint port with a name and number.
func UsesPort(r *routev1.Route, name string, number int32) bool {
	if r.Spec.Port == nil {
		return true
	}
	target := r.Spec.Port.TargetPort.String()
	return target == name || target == strconv.Itoa(int(number))
}

func portName(p discoveryv1.EndpointPort) string {
	if p.Name == nil {
		return ""
	}
	return *p.Name
}

// readyEndpoints: an endpoint without the condition counts as ready (discovery/v1).
func readyEndpoints(slice discoveryv1.EndpointSlice) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for _, e := range slice.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			out = append(out, e)
		}
	}
	return out
}

func isRoutable(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

// Cookie returns the value of the router's sticky cookie for this server: the MD5 hash of the server's
// ID in HAProxy's configuration (plugin.go, createRouterEndpoints). With the dynamic configuration
// manager the router uses a different value.
func (e Endpoint) Cookie() string {
	id := fmt.Sprintf("ept:%s:%s:%s:%d", e.Service, e.PortName, e.IP, e.Port)
	if e.Pod != "" {
		id = fmt.Sprintf("pod:%s:%s:%s:%s:%d", e.Pod, e.Service, e.PortName, e.IP, e.Port)
	}
	return md5Hex(id)
}

// CookieName returns the name of the Route's sticky cookie: that of the annotation, else the MD5 hash of
// the Route's key. The key begins with the TLS termination, which is always empty because the router
// computes the hash before it sets the termination.
func CookieName(r *routev1.Route) string {
	if name := r.Annotations["router.openshift.io/cookie_name"]; name != "" {
		return name
	}
	return md5Hex(" " + r.Namespace + ":" + r.Name)
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Sticky reports whether the router gives the Route's clients a cookie that keeps them on their
// backend: not for passthrough Routes, and not if the annotation disables it.
func Sticky(r *routev1.Route) bool {
	return !Passthrough(r) && !isTrue(r.Annotations["haproxy.router.openshift.io/disable_cookies"])
}

// isTrue parses an annotation as the router does.
func isTrue(s string) bool {
	on, err := strconv.ParseBool(s)
	return err == nil && on
}

// Passthrough reports whether the router forwards TLS connections without decrypting them.
func Passthrough(r *routev1.Route) bool {
	return r.Spec.TLS != nil && r.Spec.TLS.Termination == routev1.TLSTerminationPassthrough
}

// Balance returns the balance algorithm in the Route's annotation, "" for the router's default.
func Balance(r *routev1.Route) string { return r.Annotations["haproxy.router.openshift.io/balance"] }

// Admitted returns the names of the routers that admitted the Route and serve it.
func Admitted(r *routev1.Route) (routers []string) {
	for _, i := range r.Status.Ingress {
		for _, c := range i.Conditions {
			if c.Type == routev1.RouteAdmitted && c.Status == "True" {
				routers = append(routers, i.RouterName)
			}
		}
	}
	return routers
}
