package guard

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// emptyFor is how long a namespace that was removed from the settings must be without a session before
// the guard stops watching it. A command that has just read the old status may still begin a session.
const emptyFor = time.Minute

// removedNamespaces lists the namespaces that the guard's last status covers and that are not in the
// settings (configured) any more. The guard still has to end the sessions there, so the list omits
// only namespaces in which it has lost its permissions.
func (g *Guard) removedNamespaces(ctx context.Context, configured []string) ([]string, error) {
	if slices.Contains(configured, settings.AllNamespaces) {
		return nil, nil
	}
	status, err := standby.ReadStatus(ctx, g.Urgent.Core, g.Home)
	if reason.Is(err, reason.GuardStatusInvalid) {
		g.Log.Warn("cannot read the guard's status; the namespaces watched before are unknown", "error", err)
	} else if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	var covered []string
	for _, namespace := range slices.Concat(status.Namespaces, status.Leaving) {
		if !slices.Contains(configured, namespace) && !slices.Contains(covered, namespace) {
			covered = append(covered, namespace)
		}
	}
	allowed, _, err := g.splitByRights(ctx, covered)
	return allowed, err
}

// dropEmptyNamespaces removes namespaces from the status that are not in the settings any more, each
// once two checks in a row, emptyFor apart, found no session there. The next Guard does not watch them.
func (g *Guard) dropEmptyNamespaces(ctx context.Context) {
	leaving := g.leaving
	ticker := time.NewTicker(emptyFor)
	defer ticker.Stop()
	for busy := leaving; len(leaving) > 0; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		busyBefore := busy
		busy = slices.DeleteFunc(slices.Clone(leaving), g.hasNoSession)
		remaining := slices.DeleteFunc(slices.Clone(leaving), func(n string) bool {
			return !slices.Contains(busyBefore, n) && !slices.Contains(busy, n)
		})
		if len(remaining) < len(leaving) {
			leaving = remaining
			g.publish(ctx, leaving)
		}
	}
}

// hasNoSession reports whether the caches contain no object of a session in a namespace. For
// AllNamespaces it ignores the namespaces in the settings.
func (g *Guard) hasNoSession(namespace string) bool {
	c := g.cachesOf(namespace)
	for _, i := range c.all() {
		for _, o := range i.GetStore().List() {
			in := namespaceOf(o)
			if len(c.keysOf(o)) == 0 {
				continue // someone else set the label
			}
			if in == namespace || namespace == settings.AllNamespaces && !slices.Contains(g.Settings.Namespaces, in) {
				return false
			}
		}
	}
	return true
}
