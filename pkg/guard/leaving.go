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

// emptyFor is how long a namespace that is set no more must be without a session before it
// is let go: who saw it covered a moment before may just begin one.
const emptyFor = time.Minute

// left are the namespaces that the guard covered by its last status, and that are set no
// more: sessions there are still its to end. Where it has lost its rights, it can't.
func (g *Guard) left(ctx context.Context, set []string) ([]string, error) {
	if slices.Contains(set, settings.AllNamespaces) {
		return nil, nil
	}
	status, err := standby.ReadStatus(ctx, g.Urgent.Core, g.Home)
	if reason.Is(err, reason.GuardStatusInvalid) {
		g.Log.Warn("its status can't be read: which namespaces were watched before is not known", "error", err)
	} else if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	var covered []string
	for _, namespace := range slices.Concat(status.Namespaces, status.Leaving) {
		if !slices.Contains(set, namespace) && !slices.Contains(covered, namespace) {
			covered = append(covered, namespace)
		}
	}
	allowed, _, err := g.allow(ctx, covered)
	return allowed, err
}

// leave lets namespaces go that are set no more, each when it has been without a session
// for a while: the status says so, the next life does not watch them.
func (g *Guard) leave(ctx context.Context) {
	left := g.leaving
	ticker := time.NewTicker(emptyFor)
	defer ticker.Stop()
	for busy := left; len(left) > 0; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		was := busy
		busy = slices.DeleteFunc(slices.Clone(left), g.empty)
		still := slices.DeleteFunc(slices.Clone(left), func(n string) bool {
			return !slices.Contains(was, n) && !slices.Contains(busy, n)
		})
		if len(still) < len(left) {
			left = still
			g.publish(ctx, left)
		}
	}
}

// empty says whether no object of a session is in a namespace, by the caches. Of all
// namespaces those that are set do not count.
func (g *Guard) empty(namespace string) bool {
	w := g.in(namespace)
	for _, i := range w.all() {
		for _, o := range i.GetStore().List() {
			in := namespaceOf(o)
			if len(w.keysOf(o)) == 0 {
				continue // labelled by somebody else
			}
			if in == namespace || namespace == settings.AllNamespaces && !slices.Contains(g.Settings.Namespaces, in) {
				return false
			}
		}
	}
	return true
}
