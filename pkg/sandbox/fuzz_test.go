package sandbox

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// For any labels, selectors and needed keys, no selector matches the clone but for those that are reported, no label
// is dropped needlessly, and none is lost or invented.
func FuzzEscape(f *testing.F) {
	f.Add("app=web,tier=front", "app=web;tier in (front)", "tier")
	f.Add("a=1,b=2,c=3", "a=1,b=2;!c;b notin (2)", "")
	f.Add("a=1", "", "a")
	f.Fuzz(func(t *testing.T, set, rules, needed string) {
		all, err := labels.ConvertSelectorToLabelsMap(set)
		if err != nil || len(all) > 6 {
			return
		}
		var selectors []workload.Selector
		for i, rule := range strings.Split(rules, ";") {
			s, err := labels.Parse(rule)
			if err != nil || i > 6 {
				return
			}
			selectors = append(selectors, workload.Selector{Kind: "service", Name: string(rune('a' + i)), Selector: s})
		}
		extra := labels.Set{record.Label: "bcdfghjk"}
		if _, clash := all[record.Label]; clash {
			return
		}
		kept, dropped, remaining := Escape(all, extra, selectors, strings.Split(needed, ","))
		final := labels.Merge(kept, extra)
		for _, s := range selectors {
			if s.Matches(final) != contains(remaining, s) {
				t.Errorf("%s selects %v: %v, reported: %v", s.Selector, final, s.Matches(final), contains(remaining, s))
			}
		}
		both := maps.Clone(map[string]string(kept))
		maps.Copy(both, dropped)
		if !maps.Equal(both, all) || len(kept)+len(dropped) != len(all) {
			t.Errorf("%v became %v and %v", all, kept, dropped)
		}
		for k, v := range dropped {
			back := labels.Merge(final, labels.Set{k: v})
			if !slices.ContainsFunc(selectors, func(s workload.Selector) bool { return s.Matches(back) && !contains(remaining, s) }) {
				t.Errorf("%s=%s was dropped needlessly from %v: %s", k, v, all, rules)
			}
		}
	})
}

// expand gives each variable the value that the kubelet gives it, in the order of the list: references to earlier
// variables, and to those of envFrom, are replaced.
func expand(env []corev1.EnvVar) map[string]string {
	known := map[string]string{"FROM": "elsewhere"}
	for _, e := range env {
		value := e.Value
		for name, v := range known {
			value = strings.ReplaceAll(value, "$("+name+")", v)
		}
		known[e.Name] = value
	}
	return known
}

// Setting a variable changes no other one that does not refer to it, keeps the order of the others, and gives those
// that refer to it its new value.
func FuzzSetVariable(f *testing.F) {
	f.Add("A=1 B=$(A) C=3", "A", "9")
	f.Add("B=$(FROM)", "FROM", "moon")
	f.Add("A=1 A=2 C=$(A)", "A", "9")
	f.Fuzz(func(t *testing.T, text, name, value string) {
		if name == "" || strings.ContainsAny(name, "$()= \t\n") || strings.Contains(value, "$(") {
			return
		}
		var env []corev1.EnvVar
		for _, f := range strings.Fields(text) {
			n, v, _ := strings.Cut(f, "=")
			env = append(env, corev1.EnvVar{Name: n, Value: v})
		}
		if len(env) > 6 {
			return
		}
		before := slices.Clone(env)
		got := setVariable(env, corev1.EnvVar{Name: name, Value: value})
		if !slices.Equal(env, before) {
			t.Errorf("the original's variables became %v", env)
		}
		others := func(list []corev1.EnvVar) []corev1.EnvVar {
			return slices.DeleteFunc(slices.Clone(list), func(e corev1.EnvVar) bool { return e.Name == name })
		}
		if !slices.Equal(others(got), others(env)) {
			t.Errorf("other variables of %v became %v", env, got)
		}
		at := slices.IndexFunc(got, func(e corev1.EnvVar) bool { return e.Name == name })
		if at < 0 || got[at].Value != value || len(got) != len(others(got))+1 {
			t.Errorf("%s=%s in %v gives %v", name, value, env, got)
		}
		if first := slices.IndexFunc(env, func(e corev1.EnvVar) bool { return e.Name == name }); first >= 0 {
			return // it stands where it stood
		}
		for _, e := range got[:at] {
			if strings.Contains(e.Value, "$("+name+")") {
				t.Errorf("%s refers to %s, which comes later: %v", e.Name, name, got)
			}
		}
		if after := expand(got); after[name] != value {
			t.Errorf("%s is %q in %v", name, after[name], got)
		}
	})
}
