// Package settings is what a cluster's administrator decided for all sessions, and what
// the guard says of itself: two ConfigMaps and a Lease in the guard's namespace, which
// every authenticated user may read.
package settings

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Names of what the guard's namespace holds.
const (
	Namespace  = "osc-debug"
	ConfigName = "osc-debug"       // ConfigMap: what the administrator set
	StatusName = "osc-debug-guard" // ConfigMap: what the guard says of itself
	LeaseName  = "osc-debug-guard"
)

// AllNamespaces stands in Namespaces for a guard of the whole cluster.
const AllNamespaces = "*"

// Settings are the administrator's decisions. The zero value is no setting: use Defaults.
type Settings struct {
	Namespaces     []string      // that the guard watches; AllNamespaces for all
	ReloadInterval time.Duration // of the routers
	Drain          time.Duration // least time between restoring a Route and deleting its sandbox
	Grace          time.Duration // how long a sandbox may be unready before its traffic goes back
	MaxDuration    time.Duration // of a session, extensions included
	RuntimeClasses []string      // that sandboxes may use; empty only where no ConfigMap says: any
	Images         []string      // sidecar images by digest; empty: any
}

// Defaults are the settings where the administrator says nothing. A ConfigMap must name
// runtime classes and a guard goes by one: it deletes no pod that is not in a sandbox.
func Defaults() Settings {
	return Settings{
		ReloadInterval: 5 * time.Second, Drain: 8 * time.Second, Grace: 5 * time.Second,
		MaxDuration: Longest,
	}
}

// Longest is what a sandbox pod's own deadline, 4 h, leaves for a session.
const Longest = 4*time.Hour - 10*time.Minute

// Parse reads a ConfigMap's data; keys that are not known are an error, since a typing
// error in a limit must not lift it.
func Parse(data map[string]string) (Settings, error) {
	s := Defaults()
	durations := map[string]*time.Duration{
		"reloadInterval": &s.ReloadInterval, "drain": &s.Drain, "grace": &s.Grace, "maxDuration": &s.MaxDuration,
	}
	lists := map[string]*[]string{"namespaces": &s.Namespaces, "runtimeClasses": &s.RuntimeClasses, "images": &s.Images}
	for key, text := range data {
		if d := durations[key]; d != nil {
			value, err := time.ParseDuration(strings.TrimSpace(text))
			if err != nil || value < 0 {
				return s, fmt.Errorf("ConfigMap %s/%s: %s: %q is no duration such as 8s", Namespace, ConfigName, key, text)
			}
			*d = value
		} else if l := lists[key]; l != nil {
			*l = strings.Fields(text)
		} else {
			return s, fmt.Errorf("ConfigMap %s/%s: key %q is not known", Namespace, ConfigName, key)
		}
	}
	switch {
	case s.MaxDuration == 0 || s.MaxDuration > Longest:
		return s, fmt.Errorf("ConfigMap %s/%s: maxDuration: up to %s, since a sandbox pod lives for 4h", Namespace, ConfigName, Longest)
	case len(s.RuntimeClasses) == 0:
		return s, fmt.Errorf("ConfigMap %s/%s: runtimeClasses: name at least one", Namespace, ConfigName)
	case len(s.Namespaces) > 1 && slices.Contains(s.Namespaces, AllNamespaces):
		return s, fmt.Errorf("ConfigMap %s/%s: namespaces: %s stands alone", Namespace, ConfigName, AllNamespaces)
	}
	return s, nil
}

// Read returns the settings.
func Read(ctx context.Context, core kubernetes.Interface) (Settings, error) {
	m, err := core.CoreV1().ConfigMaps(Namespace).Get(ctx, ConfigName, metav1.GetOptions{})
	if err != nil {
		return Settings{}, err
	}
	return Parse(m.Data)
}

// Status is what a guard says of itself in ConfigMap StatusName.
type Status struct {
	Journal    int      // newest journal version that it reads
	Namespaces []string // in which it may restore Routes and delete sandboxes
}

// Data is the status as a ConfigMap's data.
func (s Status) Data() map[string]string {
	return map[string]string{"journal": fmt.Sprint(s.Journal), "namespaces": strings.Join(s.Namespaces, " ")}
}

func parseStatus(m *corev1.ConfigMap) (Status, error) {
	var s Status
	if _, err := fmt.Sscan(m.Data["journal"], &s.Journal); err != nil {
		return s, fmt.Errorf("ConfigMap %s/%s: journal: %w", m.Namespace, m.Name, err)
	}
	s.Namespaces = strings.Fields(m.Data["namespaces"])
	return s, nil
}

// Covers says whether the guard may end sessions in a namespace.
func (s Status) Covers(namespace string) bool {
	return slices.Contains(s.Namespaces, AllNamespaces) || slices.Contains(s.Namespaces, namespace)
}

// Guard is a guard as others see it.
type Guard struct {
	Status
	Holder  string
	Renewed time.Time     // when its Lease was last renewed, by its own clock
	Lease   time.Duration // how long that holds
	Version string        // of the Lease object: it changes with each renewal
}

// LeaseVersion is the Lease's version now: another than before when it was renewed.
func LeaseVersion(ctx context.Context, core kubernetes.Interface) (string, error) {
	lease, err := core.CoordinationV1().Leases(Namespace).Get(ctx, LeaseName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return lease.ResourceVersion, nil
}

// ReadGuard looks for the guard.
func ReadGuard(ctx context.Context, core kubernetes.Interface) (*Guard, error) {
	lease, err := core.CoordinationV1().Leases(Namespace).Get(ctx, LeaseName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("its Lease %s/%s: %w", Namespace, LeaseName, err)
	}
	if lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return nil, fmt.Errorf("its Lease %s/%s: nobody holds it", Namespace, LeaseName)
	}
	m, err := core.CoreV1().ConfigMaps(Namespace).Get(ctx, StatusName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("its status %s/%s: %w", Namespace, StatusName, err)
	}
	status, err := parseStatus(m)
	if err != nil {
		return nil, err
	}
	return &Guard{
		Status: status, Holder: *lease.Spec.HolderIdentity, Renewed: lease.Spec.RenewTime.Time,
		Lease: time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second, Version: lease.ResourceVersion,
	}, nil
}
