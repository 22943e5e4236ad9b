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
	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/rights"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// errRestart is the cause that ends a Guard because its settings or permissions have changed.
var errRestart = errors.New("settings or permissions changed")

// readSettings reads the settings. If the ConfigMap is invalid, was deleted or is no longer trusted, it returns
// the last valid settings, so that running sessions stay protected.
func (g *Guard) readSettings(ctx context.Context) (settings.Settings, error) {
	s, err := settings.Read(ctx, g.Urgent.Core, nil, g.Home)
	invalid := (*settings.Invalid)(nil)
	unusable := errors.As(err, &invalid) || apierrors.IsNotFound(err) || reason.Is(err, reason.HomeNotTrusted)
	if unusable && g.lastSettings != nil {
		g.Log.Error("cannot use the settings; keeping the previous ones", "error", err)
		return *g.lastSettings, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the settings: %w", err)
	}
	g.lastSettings = &s
	return s, nil
}

// waitForRights polls until the guard has all permissions in one of the missing namespaces, or can read
// nodes, and returns errRestart. Permissions cannot be watched. A lost permission makes a request fail:
// see checkRights.
func (g *Guard) waitForRights(ctx context.Context, missing []string) error {
	core, interval := g.Urgent.Core, 30*time.Second
	if len(missing) == 0 { // only nodes, which a team's guard may never be able to read
		interval = g.Relist
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		for _, namespace := range missing {
			if lacks, err := missingRight(ctx, core, namespace, rights.Guard); err == nil && lacks == "" {
				return errRestart
			}
		}
		if sees, err := canSeeNodes(ctx, core); err == nil && sees && !g.SeesNodes {
			return errRestart
		}
	}
}

// checkRights checks the guard's permissions in a namespace (or AllNamespaces) in which a request was
// forbidden. If one is missing, it ends this Guard; the next one does not watch that namespace.
func (g *Guard) checkRights(ctx context.Context, namespace string) {
	if lacks, err := missingRight(ctx, g.Urgent.Core, namespace, rights.Guard); err == nil && lacks != "" {
		g.Log.Warn("lost a permission", "namespace", namespace, "right", lacks)
		g.rights.set(namespace, false)
		g.restart(errRestart)
	}
}

// waitForSettings waits until the settings differ from current and returns errRestart. It also returns
// if the guard is no longer allowed to read them, with that error, or if ctx ends.
func (g *Guard) waitForSettings(ctx context.Context, current settings.Settings) error {
	configMaps := g.Urgent.Core.CoreV1().ConfigMaps(g.Home)
	for ctx.Err() == nil {
		// Read the ConfigMap first and watch from its resourceVersion: a watch without one starts from the
		// API server's cache, which may be behind.
		m, err := configMaps.Get(ctx, settings.ConfigName, metav1.GetOptions{})
		if err == nil {
			if g.settingsDiffer(ctx, m, current) {
				return errRestart
			}
			err = g.watchConfigMap(ctx, m, current)
		}
		if errors.Is(err, errRestart) || apierrors.IsForbidden(err) {
			return err
		}
		_ = kube.Sleep(ctx, lead.RetryPeriod) // the loop ends with ctx
	}
	return ctx.Err()
}

// watchConfigMap watches the ConfigMap of the settings from the version m on. It returns errRestart when
// the settings differ from current, and nil when the watch ends.
func (g *Guard) watchConfigMap(ctx context.Context, m *corev1.ConfigMap, current settings.Settings) error {
	w, err := g.Urgent.Core.CoreV1().ConfigMaps(g.Home).Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", settings.ConfigName).String(),
		ResourceVersion: m.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if m, ok := event.Object.(*corev1.ConfigMap); ok && g.settingsDiffer(ctx, m, current) {
			return errRestart
		}
	}
	return nil
}

// settingsDiffer reports whether a ConfigMap has settings that differ from current, are valid, and are in a
// trusted namespace.
func (g *Guard) settingsDiffer(ctx context.Context, m *corev1.ConfigMap, current settings.Settings) bool {
	read, err := settings.Parse(g.Home, m.Data)
	if err == nil && !reflect.DeepEqual(read, current) {
		err = (*settings.Trust)(nil).Check(ctx, g.Urgent.Core, g.Home)
	}
	if err != nil {
		g.Log.Error("cannot use the new settings; keeping the old ones", "error", err)
		return false
	}
	return !reflect.DeepEqual(read, current)
}
