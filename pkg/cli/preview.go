package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/terminal"
)

// redacted stands where a TLS key would be printed.
const redacted = "REDACTED"

// printPreview prints every object that a session would write, and what it would change
// of the Route.
func printPreview(c *cobra.Command, w io.Writer, p *session.Preview, format string) error {
	objects := []runtime.Object{typed(p.Service, "v1", "Service")}
	for _, policy := range p.Policies {
		objects = append(objects, typed(policy, "networking.k8s.io/v1", "NetworkPolicy"))
	}
	if p.Budget != nil {
		objects = append(objects, typed(p.Budget, "policy/v1", "PodDisruptionBudget"))
	}
	for _, pod := range p.Pods {
		objects = append(objects, typed(pod, "v1", "Pod"))
	}
	live := redact(p.Live)
	objects = append(objects, typed(live, routev1.GroupVersion.String(), "Route"))
	for _, o := range objects {
		o.(metav1.Object).SetManagedFields(nil)
	}
	changes, err := routeDifference(p.Before, p.Live)
	if err != nil {
		return err
	}
	switch format {
	case "", "yaml":
		w = terminal.NewWriter(w, false)
		for _, o := range objects {
			data, err := marshalYAML(o)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "---\n%s", data)
		}
		fmt.Fprintf(w, "# Route %s/%s would change (%.2f %% of new clients to the sandbox):\n%s",
			p.Before.Namespace, p.Before.Name, p.Share.Percent(), changes)
		return nil
	case "json":
		encoder := json.NewEncoder(terminal.NewJSONWriter(w))
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{
			"apiVersion": "v1", "kind": "List", "items": objects,
			"routeDifference": strings.Split(strings.TrimSpace(changes), "\n"), "realisedShare": p.Share,
		})
	}
	return usage(c, fmt.Errorf("--output %q: must be yaml or json", format))
}

func typed(o runtime.Object, apiVersion, kind string) runtime.Object {
	o.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	return o
}

// redact keeps what a session is about: a Route's name, labels and spec without the TLS key, and our
// annotation. kubectl, kapp and Fleet keep copies of the whole Route in theirs.
func redact(r *routev1.Route) *routev1.Route {
	out := &routev1.Route{
		TypeMeta:   r.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, Labels: r.Labels},
		Spec:       *r.Spec.DeepCopy(),
	}
	if journal, ok := r.Annotations[record.JournalKey]; ok {
		out.Annotations = map[string]string{record.JournalKey: journal}
	}
	if out.Spec.TLS != nil && out.Spec.TLS.Key != "" {
		out.Spec.TLS.Key = redacted
	}
	return out
}

// routeDifference shows what differs between two states of a Route's backends and
// marks, as comment lines.
func routeDifference(before, after *routev1.Route) (string, error) {
	side := func(r *routev1.Route) ([]byte, error) {
		r = redact(r)
		return marshalYAML(map[string]any{
			"metadata": map[string]any{"labels": r.Labels, "annotations": r.Annotations},
			"spec":     map[string]any{"to": r.Spec.To, "alternateBackends": r.Spec.AlternateBackends},
		})
	}
	old, err := side(before)
	if err != nil {
		return "", err
	}
	changed, err := side(after)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimRight(string(diff.Diff("now", old, "live", changed)), "\n"), "\n") {
		out.WriteString("# " + line + "\n")
	}
	return out.String(), nil
}
