// Package standby is the guard as commands see it: its Lease, and what it says of itself.
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

// Status is what a guard says of itself in ConfigMap settings.StatusName.
type Status struct {
	Journal    int      // newest journal version that it reads
	Namespaces []string // in which it may restore Routes and delete sandboxes
	Leaving    []string // that are set no more, in which it ends the sessions that are left
	Nodes      bool     // it sees which nodes are cordoned
}

// Data is the status as a ConfigMap's data.
func (s Status) Data() map[string]string {
	return map[string]string{
		"journal": fmt.Sprint(s.Journal), "namespaces": strings.Join(s.Namespaces, " "),
		"leaving": strings.Join(s.Leaving, " "), "nodes": strconv.FormatBool(s.Nodes),
	}
}

// ReadStatus reads what the guard that lives in home said of itself.
func ReadStatus(ctx context.Context, core kubernetes.Interface, home string) (Status, error) {
	m, err := core.CoreV1().ConfigMaps(home).Get(ctx, settings.StatusName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Status{}, reason.New(reason.GuardStatusMissing, "home", home, "configmap", settings.StatusName, "why", err)
	}
	if err != nil {
		return Status{}, fmt.Errorf("its status %s/%s: %w", home, settings.StatusName, err)
	}
	return parseStatus(m)
}

func parseStatus(m *corev1.ConfigMap) (Status, error) {
	var s Status
	if len(m.Data) == 0 {
		return s, nil // as its manifests make it: no guard has led yet
	}
	if _, err := fmt.Sscan(m.Data["journal"], &s.Journal); err != nil {
		return s, reason.New(reason.GuardStatusInvalid, "home", m.Namespace, "configmap", m.Name, "why", err)
	}
	s.Namespaces, s.Leaving = strings.Fields(m.Data["namespaces"]), strings.Fields(m.Data["leaving"])
	s.Nodes = m.Data["nodes"] == "true"
	return s, nil
}

// Covers says whether the guard may end sessions in a namespace.
func (s Status) Covers(namespace string) bool {
	return slices.Contains(s.Namespaces, settings.AllNamespaces) || slices.Contains(s.Namespaces, namespace)
}

// Guard is a guard as others see it.
type Guard struct {
	Status
	Home    string
	Holder  string
	Renewed time.Time     // when its Lease was last renewed, by its own clock
	Lease   time.Duration // how long that holds
}

// Ends says why the guard could not end sessions in a namespace whose journals have a
// version, nil if it could. now is the API server's time.
func (g *Guard) Ends(namespace string, journal int, now time.Time) error {
	if err := g.Stands(now); err != nil {
		return err
	}
	return g.MayEnd(namespace, journal)
}

// Stands says why the guard does not stand by, nil if it does.
func (g *Guard) Stands(now time.Time) error {
	if age := now.Sub(g.Renewed); age > g.Lease {
		return reason.New(reason.GuardLeaseStale, "guard", g.Holder, "home", g.Home, "age", age.Round(time.Second))
	}
	return nil
}

// MayEnd says why a guard that stands by could not end sessions in a namespace, nil if it could.
func (g *Guard) MayEnd(namespace string, journal int) error {
	if !g.Covers(namespace) {
		return reason.New(reason.GuardDoesNotCover, "home", g.Home, "namespace", namespace, "configmap", settings.ConfigName)
	}
	if g.Journal < journal {
		return reason.New(reason.GuardTooOld, "home", g.Home, "reads", g.Journal, "writes", journal)
	}
	return nil
}

// Renews says whether somebody renewed the guard's Lease since it was read, and holds it.
func (g *Guard) Renews(ctx context.Context, core kubernetes.Interface) (bool, error) {
	lease, err := readLease(ctx, core, g.Home)
	if err != nil {
		return false, err
	}
	return !lease.Spec.RenewTime.Time.Equal(g.Renewed), nil
}

// readLease is a Lease that somebody holds.
func readLease(ctx context.Context, core kubernetes.Interface, home string) (*coordinationv1.Lease, error) {
	lease, err := core.CoordinationV1().Leases(home).Get(ctx, settings.LeaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, reason.New(reason.GuardNotFound, "home", home, "lease", settings.LeaseName, "why", err)
	}
	if err != nil {
		return nil, fmt.Errorf("its Lease %s/%s: %w", home, settings.LeaseName, err)
	}
	if lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return nil, reason.New(reason.GuardLeaseNotHeld, "home", home, "lease", settings.LeaseName)
	}
	return lease, nil
}

// Find finds the guard that can end sessions in a namespace: the cluster's, else the
// namespace's own. If neither can, the error is the reason of the cluster's, unless the
// namespace has one.
func Find(ctx context.Context, core kubernetes.Interface, namespace string, journal int, now func() time.Time) (*Guard, error) {
	find := func(home string) (*Guard, error) {
		g, err := Read(ctx, core, home)
		if err == nil {
			err = g.Ends(namespace, journal, now())
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
	if apierrors.IsNotFound(ownErr) || apierrors.IsForbidden(ownErr) {
		return nil, err // none of the team's, or none that others may know of
	}
	return nil, ownErr
}

// Read looks for the guard that lives in home.
func Read(ctx context.Context, core kubernetes.Interface, home string) (*Guard, error) {
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
