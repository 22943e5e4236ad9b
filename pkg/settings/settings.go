// Package settings is what a cluster's administrator decided for all sessions: a ConfigMap in
// the guard's home, a namespace of its own whose objects every authenticated user may read. A team that has no cluster
// administrator's guard may have one in its own namespace, its home then.
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
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Home is the namespace of the cluster's guard.
const Home = "osc-debug"

// Names of what a guard's home holds.
const (
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
		ReloadInterval: 5 * time.Second, Drain: 5*time.Second + drainSlack, Grace: 5 * time.Second,
		MaxDuration: record.Longest,
	}
}

// drainSlack is what a sandbox stays longer than the router may take to reload.
const drainSlack = 3 * time.Second

// Courtesy is how long beyond the drain a guard leaves a session alone whose Route is
// restored: a command that ends its own session gets to finish.
const Courtesy = time.Minute

// Parse reads the data of the ConfigMap in home; keys that are not known are an error, since a
// typing error in a limit must not lift it. Errors are *Invalid.
func Parse(home string, data map[string]string) (Settings, error) {
	s := Defaults()
	durations := map[string]*time.Duration{
		"reloadInterval": &s.ReloadInterval, "drain": &s.Drain, "grace": &s.Grace, "maxDuration": &s.MaxDuration,
	}
	lists := map[string]*[]string{"namespaces": &s.Namespaces, "runtimeClasses": &s.RuntimeClasses, "images": &s.Images}
	for key, text := range data {
		if d := durations[key]; d != nil {
			value, err := time.ParseDuration(strings.TrimSpace(text))
			if err != nil || value < 0 {
				return s, &Invalid{home, key, fmt.Errorf("%q is no duration such as 8s", text)}
			}
			*d = value
		} else if l := lists[key]; l != nil {
			*l = strings.Fields(text)
		} else {
			return s, &Invalid{home, key, errors.New("this key is not known")}
		}
	}
	if _, set := data["drain"]; !set {
		s.Drain = s.ReloadInterval + drainSlack
	}
	switch {
	case s.MaxDuration == 0 || s.MaxDuration > record.Longest:
		return s, &Invalid{home, "maxDuration", fmt.Errorf("up to %s, since a sandbox pod lives for 4h", record.Longest)}
	case len(s.RuntimeClasses) == 0:
		return s, &Invalid{home, "runtimeClasses", errors.New("name at least one")}
	case len(s.Namespaces) > 1 && slices.Contains(s.Namespaces, AllNamespaces):
		return s, &Invalid{home, "namespaces", fmt.Errorf("%s stands alone", AllNamespaces)}
	}
	return s, nil
}

// Invalid are settings that can't be used.
type Invalid struct {
	Home string
	Key  string
	Err  error // what is wrong with the key's value
}

func (e *Invalid) Error() string { return e.Reason().Error() }
func (e *Invalid) Unwrap() error { return e.Err }

// Reason is why they can't.
func (e *Invalid) Reason() *reason.Error {
	return reason.New(reason.SettingsInvalid, "namespace", e.Home, "configmap", ConfigName, "key", e.Key, "why", e.Err)
}

// Read returns the settings of the guard that lives in home.
func Read(ctx context.Context, core kubernetes.Interface, home string) (Settings, error) {
	m, err := core.CoreV1().ConfigMaps(home).Get(ctx, ConfigName, metav1.GetOptions{})
	if err != nil {
		return Settings{}, err
	}
	return Parse(home, m.Data)
}

// Find returns the settings for sessions in a namespace: the cluster's, else those of the
// namespace's own guard, else the defaults.
func Find(ctx context.Context, core kubernetes.Interface, namespace string) (Settings, error) {
	for _, home := range []string{Home, namespace} {
		s, err := Read(ctx, core, home)
		switch {
		case err == nil:
			return s, nil
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
			return s, fmt.Errorf("read the settings: %w", err)
		}
	}
	return Defaults(), nil // no guard is installed, or it is not for us to read
}
