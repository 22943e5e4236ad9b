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

// Endpoint is one HAProxy server: a ready address on a port the Route uses.
type Endpoint struct {
	Service  string
	Pod      string // empty where the address is no pod's
	PortName string
	IP       string
	Port     int32
}

// Endpoints lists the servers that the router makes of a Service's EndpointSlices:
// ready ones, on the port that spec.port names by name or number, or on every port
// where the Route names none. Loopback and link-local addresses are not used.
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
					if routable(address) && !seen[endpoint] {
						seen[endpoint] = true
						out = append(out, endpoint)
					}
				}
			}
		}
	}
	return out
}

// UsesPort says whether the Route sends traffic to an endpoint port of this name or
// number.
func UsesPort(r *routev1.Route, name string, number int32) bool {
	if r.Spec.Port == nil {
		return true
	}
	wanted := r.Spec.Port.TargetPort.String()
	return wanted == name || wanted == strconv.Itoa(int(number))
}

func portName(p discoveryv1.EndpointPort) string {
	if p.Name == nil {
		return ""
	}
	return *p.Name
}

// readyEndpoints: a condition that is not given counts as ready (discovery/v1).
func readyEndpoints(slice discoveryv1.EndpointSlice) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for _, e := range slice.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			out = append(out, e)
		}
	}
	return out
}

func routable(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

// Cookie is the value by which the router's cookie names this server: the hash of the
// server's id in HAProxy's configuration (plugin.go, createRouterEndpoints). With the
// dynamic configuration manager the router uses another value.
func (e Endpoint) Cookie() string {
	id := fmt.Sprintf("ept:%s:%s:%s:%d", e.Service, e.PortName, e.IP, e.Port)
	if e.Pod != "" {
		id = fmt.Sprintf("pod:%s:%s:%s:%s:%d", e.Pod, e.Service, e.PortName, e.IP, e.Port)
	}
	return hash(id)
}

// CookieName is the name of the Route's sticky cookie: an annotation's, else the hash
// of the Route's key. The router hashes before it knows the Route's TLS termination,
// so an empty termination goes in for all.
func CookieName(r *routev1.Route) string {
	if name := r.Annotations["router.openshift.io/cookie_name"]; name != "" {
		return name
	}
	return hash(" " + r.Namespace + ":" + r.Name)
}

func hash(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Sticky says whether the Route's clients keep their backend by cookie: passthrough
// Routes have none, and an annotation turns it off.
func Sticky(r *routev1.Route) bool {
	return !Passthrough(r) && !isTrue(r.Annotations["haproxy.router.openshift.io/disable_cookies"])
}

// isTrue is the router's own reading of an annotation.
func isTrue(s string) bool {
	on, err := strconv.ParseBool(s)
	return err == nil && on
}

// Passthrough says whether the router forwards TLS without opening it.
func Passthrough(r *routev1.Route) bool {
	return r.Spec.TLS != nil && r.Spec.TLS.Termination == routev1.TLSTerminationPassthrough
}

// Balance is the algorithm an annotation asks for, "" for the router's own choice.
func Balance(r *routev1.Route) string { return r.Annotations["haproxy.router.openshift.io/balance"] }

// Admitted lists the routers that serve the Route.
func Admitted(r *routev1.Route) (by []string) {
	for _, i := range r.Status.Ingress {
		for _, c := range i.Conditions {
			if c.Type == routev1.RouteAdmitted && c.Status == "True" {
				by = append(by, i.RouterName)
			}
		}
	}
	return by
}
