// Package standby shows the guard to commands: its Lease and its published status.
package standby

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// Status is what a guard publishes in ConfigMap settings.StatusName.
type Status struct {
	Journal    int      // newest journal version that it reads
	Shape      int      // newest shape of sandbox pods that it recognises
	Namespaces []string // namespaces in which it can end sessions; settings.AllNamespaces for all
	Leaving    []string // namespaces removed from the settings, in which it still ends sessions
	Nodes      bool     // whether it can read nodes, to see which are cordoned
	Reloads    bool     // whether it makes routers reload when shares drift
}

// Data returns the status as the data of a ConfigMap.
func (s Status) Data() map[string]string {
	return map[string]string{
		"journal": strconv.Itoa(s.Journal), "shape": strconv.Itoa(s.Shape), "namespaces": strings.Join(s.Namespaces, " "),
		"leaving": strings.Join(s.Leaving, " "), "nodes": strconv.FormatBool(s.Nodes), "reloads": strconv.FormatBool(s.Reloads),
	}
}

// ReadStatus reads the status of the guard in namespace home. The error's reason is GuardStatusMissing
// or GuardStatusInvalid; other errors have none.
func ReadStatus(ctx context.Context, core kubernetes.Interface, home string) (Status, error) {
	m, err := core.CoreV1().ConfigMaps(home).Get(ctx, settings.StatusName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Status{}, reason.New(reason.GuardStatusMissing, "home", home, "configmap", settings.StatusName, "why", err)
	}
	if err != nil {
		return Status{}, fmt.Errorf("guard status in ConfigMap %s/%s: %w", home, settings.StatusName, err)
	}
	return parseStatus(m)
}

func parseStatus(m *corev1.ConfigMap) (Status, error) {
	var s Status
	if len(m.Data) == 0 {
		return s, nil // as in the manifests: no guard has published a status yet
	}
	version := func(key string) (int, error) {
		n, err := strconv.Atoi(m.Data[key])
		if err != nil {
			return 0, reason.New(reason.GuardStatusInvalid, "home", m.Namespace, "configmap", m.Name, "key", key, "why", err)
		}
		return n, nil
	}
	var err error
	if s.Journal, err = version("journal"); err != nil {
		return Status{}, err
	}
	s.Shape = 1 // a guard that does not publish a shape knows this one
	if _, published := m.Data["shape"]; published {
		if s.Shape, err = version("shape"); err != nil {
			return Status{}, err
		}
	}
	s.Namespaces, s.Leaving = strings.Fields(m.Data["namespaces"]), strings.Fields(m.Data["leaving"])
	s.Nodes, s.Reloads = m.Data["nodes"] == "true", m.Data["reloads"] == "true"
	return s, nil
}

// Covers reports whether the guard can end sessions in a namespace.
func (s Status) Covers(namespace string) bool {
	return slices.Contains(s.Namespaces, settings.AllNamespaces) || slices.Contains(s.Namespaces, namespace)
}

// Guard is a guard as its Lease and its status show it.
type Guard struct {
	Status
	Home    string        // namespace of its Lease, its status and its settings
	Holder  string        // the replica that holds the Lease
	Renewed time.Time     // when the Lease was last renewed, by the guard's own clock
	Lease   time.Duration // for how long after that the Lease is valid
}

// CheckCanEnd returns an error if the guard cannot end sessions in a namespace: the first error of
// CheckRunning and CheckCovers. journal is the version of the sessions' journals, now is the API
// server's time.
func (g *Guard) CheckCanEnd(namespace string, journal int, now time.Time) error {
	if err := g.CheckRunning(now); err != nil {
		return err
	}
	return g.CheckCovers(namespace, journal)
}

// CheckRunning returns an error with reason GuardLeaseStale if the guard's Lease has expired. now is
// the API server's time.
func (g *Guard) CheckRunning(now time.Time) error {
	if age := now.Sub(g.Renewed); age > g.Lease {
		return reason.New(reason.GuardLeaseStale, "guard", g.Holder, "home", g.Home, "age", age.Round(time.Second))
	}
	return nil
}

// CheckCovers returns an error if a running guard cannot end sessions in a namespace (reason
// GuardDoesNotCover), or cannot read journals of this version (GuardTooOld).
func (g *Guard) CheckCovers(namespace string, journal int) error {
	if !g.Covers(namespace) {
		return reason.New(reason.GuardDoesNotCover, "home", g.Home, "namespace", namespace, "configmap", settings.ConfigName)
	}
	if g.Journal < journal {
		return reason.New(reason.GuardTooOld, "home", g.Home, "reads", g.Journal, "writes", journal)
	}
	return nil
}

// Renews reports whether the guard's Lease has been renewed since it was read. It is an error if the
// Lease is not held.
func (g *Guard) Renews(ctx context.Context, core kubernetes.Interface) (bool, error) {
	lease, err := readLease(ctx, core, g.Home)
	if err != nil {
		return false, err
	}
	return !lease.Spec.RenewTime.Time.Equal(g.Renewed), nil
}

// readLease reads the Lease of the guard in namespace home. The error's reason is GuardNotFound, or
// GuardLeaseNotHeld if no replica holds it; other errors have none.
func readLease(ctx context.Context, core kubernetes.Interface, home string) (*coordinationv1.Lease, error) {
	lease, err := core.CoordinationV1().Leases(home).Get(ctx, settings.LeaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, reason.New(reason.GuardNotFound, "home", home, "lease", settings.LeaseName, "why", err)
	}
	if err != nil {
		return nil, fmt.Errorf("get Lease %s/%s: %w", home, settings.LeaseName, err)
	}
	if lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return nil, reason.New(reason.GuardLeaseNotHeld, "home", home, "lease", settings.LeaseName)
	}
	return lease, nil
}

// Find returns the guard that can end sessions in a namespace: the cluster's, else the namespace's
// own. If neither can, the error is that of the namespace's own guard, or of the cluster's guard if the
// namespace has none. now returns the API server's time.
func Find(ctx context.Context, core kubernetes.Interface, trust *settings.Trust, namespace string, journal int, now func() time.Time) (*Guard, error) {
	find := func(home string) (*Guard, error) {
		g, err := Read(ctx, core, trust, home)
		if err == nil {
			err = g.CheckCanEnd(namespace, journal, now())
		}
		return g, err
	}
	g, err := find(settings.Home)
	if err == nil {
		return g, nil
	}
	own, ownErr := find(namespace)
	if ownErr == nil {
		return own, nil
	}
	if reason.Is(ownErr, reason.GuardNotFound) || apierrors.IsForbidden(ownErr) {
		return nil, err // no guard of its own, or the caller cannot see it
	}
	return nil, ownErr
}

// Read reads the Lease and the status of the guard in namespace home. Errors are those of ReadStatus and
// settings.Trust, or have reason GuardNotFound or GuardLeaseNotHeld.
func Read(ctx context.Context, core kubernetes.Interface, trust *settings.Trust, home string) (*Guard, error) {
	if err := trust.Check(ctx, core, home); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, reason.New(reason.GuardNotFound, "home", home, "lease", settings.LeaseName, "why", err)
		}
		return nil, err
	}
	lease, err := readLease(ctx, core, home)
	if err != nil {
		return nil, err
	}
	status, err := ReadStatus(ctx, core, home)
	if err != nil {
		return nil, err
	}
	return &Guard{
		Status: status, Home: home, Holder: *lease.Spec.HolderIdentity, Renewed: lease.Spec.RenewTime.Time,
		Lease: time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second,
	}, nil
}
