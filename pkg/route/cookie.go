package route

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"

	"github.com/cespare/xxhash/v2"
	routev1 "github.com/openshift/api/route/v1"
)

// Cookies returns the values that the router's sticky cookie may have for this server of a Route. The first
// is that of the static router: the MD5 hash of the server's ID in HAProxy's configuration (plugin.go,
// createRouterEndpoints). The second is that of a router with the dynamic configuration manager.
func (e Endpoint) Cookies(r *routev1.Route) []string {
	id := fmt.Sprintf("ept:%s:%s:%s:%d", e.Service, e.PortName, e.IP, e.Port)
	if e.Pod != "" {
		id = fmt.Sprintf("pod:%s:%s:%s:%s:%d", e.Pod, e.Service, e.PortName, e.IP, e.Port)
	}
	values := []string{md5Hex(id)}
	if dynamic, ok := e.DynamicCookie(r); ok {
		values = append(values, dynamic)
	}
	return values
}

// DynamicCookie returns HAProxy's own cookie value for the server: the XXH64 hash of the backend's
// dynamic-cookie-key, the address and the port (HAProxy, src/server.c, srv_set_dyncookie). The router sets
// the key to the default name of the Route's cookie, even if the cookie has another name.
func (e Endpoint) DynamicCookie(r *routev1.Route) (value string, ok bool) {
	ip, err := netip.ParseAddr(e.IP)
	if err != nil {
		return "", false
	}
	text := append([]byte(defaultCookieName(r)), ip.Unmap().AsSlice()...)
	return fmt.Sprintf("%016x", xxhash.Sum64(binary.BigEndian.AppendUint32(text, uint32(e.Port)))), true
}

// validCookieName is what the router's template accepts as a cookie's name. It ignores other names.
var validCookieName = regexp.MustCompile(`\A[a-zA-Z0-9_-]+\z`)

// CookieName returns the name that the Route's sticky cookie should have: that of the annotation, else the
// default name. An administrator can set yet another one for all Routes (ROUTER_COOKIE_NAME); a plain answer
// shows it.
func CookieName(r *routev1.Route) string {
	if name := r.Annotations["router.openshift.io/cookie_name"]; validCookieName.MatchString(name) {
		return name
	}
	return defaultCookieName(r)
}

// defaultCookieName returns the MD5 hash of the Route's key. The key begins with the TLS termination, which
// is always empty because the router computes the hash before it sets the termination.
func defaultCookieName(r *routev1.Route) string { return md5Hex(" " + r.Namespace + ":" + r.Name) }

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
