// Package settings reads what an administrator has set for all sessions: a ConfigMap in the guard's
// home namespace. For the cluster's guard that is a separate namespace in which every authenticated
// user can read the objects. A team can instead install a guard in its own namespace, which is then
// that guard's home.
package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Home is the namespace of the cluster's guard.
const Home = "osc-debug"

// Names of the objects in a guard's home namespace.
const (
	ConfigName = "osc-debug"       // ConfigMap: the settings
	StatusName = "osc-debug-guard" // ConfigMap: the guard's status
	LeaseName  = "osc-debug-guard" // Lease: which replica of the guard acts
)

// AllNamespaces in Settings.Namespaces means all namespaces of the cluster.
const AllNamespaces = "*"

// Settings are what the administrator has set. The zero value is not valid: start from Defaults.
type Settings struct {
	Namespaces     []string      // namespaces that the guard watches; AllNamespaces for all
	ReloadInterval time.Duration // reload interval of the routers
	Drain          time.Duration // minimum time between restoring a Route and deleting its sandbox
	Grace          time.Duration // how long a sandbox may be unready before its traffic goes back
	MaxDuration    time.Duration // maximum length of a session, including extensions
	RuntimeClasses []string      // RuntimeClasses that sandboxes may use; empty, for any, only in Defaults
	Images         []string      // allowed sidecar images, by digest; empty: any
	Annotations    []string      // domains of annotations that sandboxes may have, in addition to the usual ones
}

// Defaults returns the settings that apply without a ConfigMap. They allow any RuntimeClass. A
// ConfigMap must name RuntimeClasses, because the guard recognizes sandbox pods by them and deletes no
// other pods.
func Defaults() Settings {
	return Settings{
		ReloadInterval: 5 * time.Second, Drain: 5*time.Second + drainSlack, Grace: 5 * time.Second,
		MaxDuration: record.Longest,
	}
}

// drainSlack is how much longer a sandbox is kept than the router's reload interval.
const drainSlack = 3 * time.Second

// Courtesy is how much longer than the drain a guard waits before it finishes a session whose Route
// is restored. In that time a command can finish ending its own session.
const Courtesy = time.Minute

// Parse parses the data of the ConfigMap in namespace home. An unknown key is an error, so that a
// misspelled limit is not silently ignored. All errors are *Invalid.
func Parse(home string, data map[string]string) (Settings, error) {
	s := Defaults()
	durations := map[string]*time.Duration{
		"reloadInterval": &s.ReloadInterval, "drain": &s.Drain, "grace": &s.Grace, "maxDuration": &s.MaxDuration,
	}
	lists := map[string]*[]string{"namespaces": &s.Namespaces, "runtimeClasses": &s.RuntimeClasses, "images": &s.Images, "annotations": &s.Annotations}
	for key, text := range data {
		if d := durations[key]; d != nil {
			value, err := time.ParseDuration(strings.TrimSpace(text))
			if err != nil || value < 0 {
				return s, &Invalid{home, key, fmt.Errorf("%q is not a duration such as 8s", text)}
			}
			*d = value
		} else if l := lists[key]; l != nil {
			*l = strings.Fields(text)
		} else {
			return s, &Invalid{home, key, errors.New("unknown key")}
		}
	}
	if _, set := data["drain"]; !set {
		s.Drain = s.ReloadInterval + drainSlack
	}
	switch {
	case s.MaxDuration == 0 || s.MaxDuration > record.Longest:
		return s, &Invalid{home, "maxDuration", fmt.Errorf("must be at most %s, because a sandbox pod lives for 4h", record.Longest)}
	case len(s.RuntimeClasses) == 0:
		return s, &Invalid{home, "runtimeClasses", errors.New("must name at least one RuntimeClass")}
	case slices.ContainsFunc(s.Annotations, func(domain string) bool { return len(validation.IsDNS1123Subdomain(domain)) > 0 }):
		return s, &Invalid{home, "annotations", errors.New("must list domains of annotations, such as example.com")}
	case len(s.Namespaces) > 1 && slices.Contains(s.Namespaces, AllNamespaces):
		return s, &Invalid{home, "namespaces", fmt.Errorf("%s cannot be combined with other namespaces", AllNamespaces)}
	}
	return s, nil
}

// Invalid is the error of settings that cannot be used.
type Invalid struct {
	Home string // namespace of the ConfigMap
	Key  string // key in the ConfigMap's data
	Err  error  // what is wrong with the key or its value
}

// Error returns the sentence of SettingsInvalid.
func (e *Invalid) Error() string { return e.Reason().Error() }

// Unwrap returns what is wrong with the key or its value.
func (e *Invalid) Unwrap() error { return e.Err }

// Reason returns the error with its code, SettingsInvalid.
func (e *Invalid) Reason() *reason.Error {
	return reason.New(reason.SettingsInvalid, "namespace", e.Home, "configmap", ConfigName, "key", e.Key, "why", e.Err)
}

// Read returns the settings of the guard in namespace home. The error is an *Invalid, has reason
// HomeNotTrusted, or is the API server's.
func Read(ctx context.Context, core kubernetes.Interface, trust *Trust, home string) (Settings, error) {
	if err := trust.Check(ctx, core, home); err != nil {
		return Settings{}, err
	}
	m, err := core.CoreV1().ConfigMaps(home).Get(ctx, ConfigName, metav1.GetOptions{})
	if err != nil {
		return Settings{}, err
	}
	return Parse(home, m.Data)
}

// Find returns the settings for sessions in a namespace: those of the cluster's guard, else those of
// the namespace's own guard, else the defaults. A home that is not trusted counts as none.
func Find(ctx context.Context, core kubernetes.Interface, trust *Trust, namespace string) (Settings, error) {
	for _, home := range []string{Home, namespace} {
		s, err := Read(ctx, core, trust, home)
		switch {
		case err == nil:
			return s, nil
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) && !reason.Is(err, reason.HomeNotTrusted):
			return s, fmt.Errorf("read the settings: %w", err)
		}
	}
	return Defaults(), nil // no guard is installed, or the caller cannot read its settings
}
