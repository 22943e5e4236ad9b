package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// reference is a ConfigMap or Secret that a program refers to.
type reference struct {
	resource, name string // resource in the plural: configmaps or secrets
	optional       bool   // the program starts without it
}

// kind returns the kind of the object.
func (r reference) kind() string {
	if r.resource == "secrets" {
		return "Secret"
	}
	return "ConfigMap"
}

// Drift compares the ConfigMaps and Secrets that a program refers to with the start of its live pod. A sandbox gets
// what they hold now. Drift returns a warning for each that was changed since, an error with reason
// EnvironmentMissing for one that is gone, and those that could not be read, with the reason. Of a Secret, only its
// metadata is read. clone is the sandbox's pod, which may refer to less than the original; created is the Secret that
// is made for it, "" for none.
func Drift(ctx context.Context, core kubernetes.Interface, namespace string, p *workload.Program, clone *corev1.PodSpec, created string) (warnings []error, unchecked []string, err error) {
	started := startOf(&p.Live)
	for _, ref := range references(clone) {
		if ref.name == created {
			continue
		}
		meta, err := readMetadata(ctx, core, namespace, ref)
		switch {
		case apierrors.IsNotFound(err) && !ref.optional:
			return warnings, unchecked, reason.New(reason.EnvironmentMissing, "workload", p, "kind", ref.kind(), "name", ref.name)
		case apierrors.IsNotFound(err):
		case err != nil:
			why := err.Error()
			if apierrors.IsForbidden(err) {
				why = "you cannot read it"
			}
			unchecked = append(unchecked, fmt.Sprintf("%s %s (%s)", ref.kind(), ref.name, why))
		default:
			if changed := lastChange(meta); !started.IsZero() && changed.After(started) {
				warnings = append(warnings, reason.New(reason.EnvironmentChanged, "kind", ref.kind(), "name", ref.name,
					"changed", changed.UTC().Format(time.RFC3339), "started", started.UTC().Format(time.RFC3339)))
			}
		}
	}
	return warnings, unchecked, nil
}

// startOf returns when the first container of a pod was started, zero if that is unknown. A restarted container
// counts with its restart: it has read its environment again.
func startOf(pod *corev1.Pod) (first time.Time) {
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Running != nil && (first.IsZero() || s.State.Running.StartedAt.Time.Before(first)) {
			first = s.State.Running.StartedAt.Time
		}
	}
	return first
}

// lastChange returns when an object was last written, by its managedFields.
func lastChange(m *metav1.PartialObjectMetadata) time.Time {
	last := m.CreationTimestamp.Time
	for _, f := range m.ManagedFields {
		if f.Time != nil && f.Subresource == "" && f.Time.After(last) {
			last = f.Time.Time
		}
	}
	return last
}

// readMetadata reads the metadata of a ConfigMap or Secret, without its contents.
func readMetadata(ctx context.Context, core kubernetes.Interface, namespace string, ref reference) (*metav1.PartialObjectMetadata, error) {
	data, err := core.CoreV1().RESTClient().Get().Namespace(namespace).Resource(ref.resource).Name(ref.name).
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", ref.kind(), ref.name, err)
	}
	return &meta, nil
}

// references lists the ConfigMaps and Secrets that a pod's variables and volumes refer to, each once, sorted.
func references(spec *corev1.PodSpec) []reference {
	found := map[string]reference{}
	add := func(resource, name string, optional *bool) {
		key, isOptional := resource+"/"+name, optional != nil && *optional
		if known, ok := found[key]; ok {
			isOptional = isOptional && known.optional
		}
		found[key] = reference{resource, name, isOptional}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, from := range c.EnvFrom {
			if m := from.ConfigMapRef; m != nil {
				add("configmaps", m.Name, m.Optional)
			}
			if s := from.SecretRef; s != nil {
				add("secrets", s.Name, s.Optional)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				continue
			}
			if m := e.ValueFrom.ConfigMapKeyRef; m != nil {
				add("configmaps", m.Name, m.Optional)
			}
			if s := e.ValueFrom.SecretKeyRef; s != nil {
				add("secrets", s.Name, s.Optional)
			}
		}
	}
	for _, v := range spec.Volumes {
		if m := v.ConfigMap; m != nil {
			add("configmaps", m.Name, m.Optional)
		}
		if s := v.Secret; s != nil {
			add("secrets", s.SecretName, s.Optional)
		}
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if m := source.ConfigMap; m != nil {
				add("configmaps", m.Name, m.Optional)
			}
			if s := source.Secret; s != nil {
				add("secrets", s.Name, s.Optional)
			}
		}
	}
	var out []reference
	for _, ref := range found {
		out = append(out, ref)
	}
	slices.SortFunc(out, func(a, b reference) int { return strings.Compare(a.resource+a.name, b.resource+b.name) })
	return out
}
