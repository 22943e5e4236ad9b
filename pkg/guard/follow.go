package guard

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/osc-debug/osc-debug/pkg/guard/lead"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// errSettings ends a life of the guard because its settings, or its rights, have changed.
var errSettings = errors.New("settings changed")

// readSettings reads what is set. What can't be used, or is gone, does not end sessions'
// safety: the last that could holds.
func (g *Guard) readSettings(ctx context.Context) (settings.Settings, error) {
	s, err := settings.Read(ctx, g.Urgent.Core, g.Home)
	invalid := (*settings.Invalid)(nil)
	if (errors.As(err, &invalid) || apierrors.IsNotFound(err)) && g.known != nil {
		g.Log.Error("settings can't be used, the last ones stay", "error", err)
		return *g.known, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the settings: %w", err)
	}
	g.known = &s
	return s, nil
}

// followRights returns errSettings when the guard has got its rights in a namespace where
// it lacked one, or the right to see nodes. Rights can't be watched; a lost one shows
// itself: see checkRights.
func (g *Guard) followRights(ctx context.Context, missing []string) error {
	core, every := g.Urgent.Core, 30*time.Second
	if len(missing) == 0 { // nodes alone: a team's guard may never see them
		every = g.Relist
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		for _, namespace := range missing {
			if lacks, err := lacking(ctx, core, namespace, needs); err == nil && lacks == "" {
				return errSettings
			}
		}
		if sees, err := seesNodes(ctx, core); err == nil && sees && !g.SeesNodes {
			return errSettings
		}
	}
}

// checkRights begins again without a namespace (or AllNamespaces) in which a request was
// forbidden, if the guard has indeed lost a right there.
func (g *Guard) checkRights(ctx context.Context, namespace string) {
	if lacks, err := lacking(ctx, g.Urgent.Core, namespace, needs); err == nil && lacks != "" {
		g.Log.Warn("right lost", "namespace", namespace, "right", lacks)
		g.rights.note(namespace, false)
		g.lost(errSettings)
	}
}

// followSettings returns when the settings are no longer what they were: errSettings, or
// the error of being forbidden to read them.
func (g *Guard) followSettings(ctx context.Context, was settings.Settings) error {
	maps := g.Urgent.Core.CoreV1().ConfigMaps(g.Home)
	for ctx.Err() == nil {
		// A live read first: a watch from nowhere in particular begins where the API server's
		// cache is, which may be behind.
		m, err := maps.Get(ctx, settings.ConfigName, metav1.GetOptions{})
		if err == nil {
			if g.differs(m, was) {
				return errSettings
			}
			err = g.followMap(ctx, m, was)
		}
		if errors.Is(err, errSettings) || apierrors.IsForbidden(err) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(lead.RetryPeriod):
		}
	}
	return ctx.Err()
}

// followMap watches the settings' ConfigMap from what was read on, until the watch ends or
// they are others.
func (g *Guard) followMap(ctx context.Context, m *corev1.ConfigMap, was settings.Settings) error {
	w, err := g.Urgent.Core.CoreV1().ConfigMaps(g.Home).Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", settings.ConfigName).String(),
		ResourceVersion: m.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if m, ok := event.Object.(*corev1.ConfigMap); ok && g.differs(m, was) {
			return errSettings
		}
	}
	return nil
}

// differs says whether a ConfigMap has other settings, which can be used.
func (g *Guard) differs(m *corev1.ConfigMap, was settings.Settings) bool {
	now, err := settings.Parse(g.Home, m.Data)
	if err != nil {
		g.Log.Error("new settings can't be used, the old ones stay", "error", err)
		return false
	}
	return !reflect.DeepEqual(now, was)
}
