package doctor_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/osc-debug/osc-debug/pkg/doctor"
	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/rights"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/test/canned"
)

// Requests to an API server, by method and path.
const (
	askVersion   = "GET /version"
	askGroups    = "GET /apis"
	askUser      = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews"
	askRules     = "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
	askNamespace = "GET /api/v1/namespaces/shop"
)

// openshift is the least that an API server with Routes answers.
func openshift() canned.Answers {
	return canned.Answers{
		askVersion: version.Info{GitVersion: "v1.36.0"},
		askGroups:  metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: "route.openshift.io"}}},
		askUser: &authenticationv1.SelfSubjectReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
			Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "alice"}},
		},
		askRules:     rules(authorizationv1.ResourceRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}),
		askNamespace: namespace(""),
	}
}

func rules(granted ...authorizationv1.ResourceRule) *authorizationv1.SelfSubjectRulesReview {
	return &authorizationv1.SelfSubjectRulesReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectRulesReview"},
		Status:   authorizationv1.SubjectRulesReviewStatus{ResourceRules: granted, NonResourceRules: []authorizationv1.NonResourceRule{}},
	}
}

// namespace is namespace shop, with a level of pod security if that is not empty.
func namespace(level string) *corev1.Namespace {
	ns := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if level != "" {
		ns.Labels = map[string]string{"pod-security.kubernetes.io/enforce": level, rights.SessionsLabel: rights.SessionsAllowed}
	}
	return ns
}

// doctorOf looks at namespace shop of an API server.
func doctorOf(t *testing.T, a canned.Answers) *doctor.Doctor {
	t.Helper()
	return doctorAt(t, a.Serve(t))
}

func doctorAt(t *testing.T, server *rest.Config) *doctor.Doctor {
	t.Helper()
	core, err := kubernetes.NewForConfig(server)
	if err != nil {
		t.Fatal(err)
	}
	return &doctor.Doctor{Store: store.Store{Core: core}, Clock: &kube.Clock{}, Namespace: "shop", RuntimeClass: "kata"}
}

// look returns the findings in the order in which they were made.
func look(t *testing.T, d *doctor.Doctor) (out []doctor.Finding) {
	t.Helper()
	if err := d.Look(t.Context(), func(f doctor.Finding) { out = append(out, f) }); err != nil {
		t.Fatal(err)
	}
	return out
}

// withCode returns the finding with a code, and whether there is one.
func withCode(findings []doctor.Finding, code reason.Code) (doctor.Finding, bool) {
	for _, f := range findings {
		if f.Code == code {
			return f, true
		}
	}
	return doctor.Finding{}, false
}

// fixOf is what to do about a finding.
func fixOf(f doctor.Finding) string { return f.Mend }

// What keeps sessions from being held is missing, what makes them less safe is a warning, and what
// cannot be told from here is unknown.
func TestHowBadAFindingIs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(canned.Answers)
		code   reason.Code
		want   doctor.Status
	}{
		{"no permissions", func(a canned.Answers) { a[askRules] = rules() }, reason.PermissionsMissing, doctor.Missing},
		{"no settings", nil, reason.SettingsMissing, doctor.Missing},
		{"no guard", nil, reason.GuardMissing, doctor.Missing},
		{"rights of a guard that is not there", nil, reason.NoGuardToCheck, doctor.Unknown},
		{"Windows pods are not rejected", func(a canned.Answers) {
			ns := namespace("privileged")
			delete(ns.Labels, rights.SessionsLabel)
			a[askNamespace] = ns
		}, reason.WindowsPodsAllowed, doctor.Warning},
		{"pod security is not set", nil, reason.PodSecurityUnset, doctor.Warning},
		{"pod security forbids the sidecar", func(a canned.Answers) { a[askNamespace] = namespace("restricted") }, reason.PodSecurityEnforced, doctor.Missing},
		{"pod security cannot be read", func(a canned.Answers) { a[askNamespace] = http.StatusForbidden }, reason.PodSecurityNotRead, doctor.Unknown},
		{"no SCCs", nil, reason.SCCNotServed, doctor.Unknown},
		{"no runtime class", nil, reason.NoRuntimeClass, doctor.Missing},
		{"no sidecar image", nil, reason.SidecarImageMissing, doctor.Missing},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := openshift()
			if c.change != nil {
				c.change(a)
			}
			findings := look(t, doctorOf(t, a))
			f, ok := withCode(findings, c.code)
			if !ok {
				t.Fatalf("no finding %s in %+v", c.code, findings)
			}
			if f.Status != c.want || f.Check == "" || f.Detail == "" {
				t.Errorf("%+v, want %s", f, c.want)
			}
		})
	}
}

// Where all is well, a finding has neither a code nor a fix. Every other one has a code.
func TestOnlyFindingsThatAreNotOKHaveACode(t *testing.T) {
	wrong := look(t, doctorOf(t, openshift()))
	a := openshift()
	a[askNamespace] = namespace("privileged")
	right := look(t, doctorOf(t, a))
	if len(wrong) != len(right) {
		t.Fatalf("%d findings and %d, want as many", len(wrong), len(right))
	}
	for i, f := range right {
		switch {
		case f.Status == doctor.OK && (f.Code != "" || fixOf(f) != ""):
			t.Errorf("all is well, but: %+v", f)
		case f.Status != doctor.OK && f.Code == "":
			t.Errorf("without a code: %+v", f)
		}
		if wrong[i].Code == reason.PodSecurityUnset && f.Status != doctor.OK {
			t.Errorf("with pod security privileged: %+v, want %s", f, doctor.OK)
		}
	}
}

// An error that has no reason is the API server's: nothing can be told of this check, and the others
// go on.
func TestACheckThatTheAPIServerDoesNotAnswer(t *testing.T) {
	all := look(t, doctorOf(t, openshift()))
	a := openshift()
	a[askRules] = http.StatusInternalServerError
	findings := look(t, doctorOf(t, a))
	if len(findings) != len(all) {
		t.Errorf("%d findings, want %d", len(findings), len(all))
	}
	unknown := 0
	for _, f := range findings {
		if f.Code == "" && f.Status != doctor.OK {
			unknown++
			if f.Status != doctor.Unknown || f.Detail == "" || fixOf(f) != "" {
				t.Errorf("%+v, want %s without a fix", f, doctor.Unknown)
			}
		}
	}
	if unknown != 1 {
		t.Errorf("%d findings without a reason, want 1 in %+v", unknown, findings)
	}
}

// Without an API server that has Routes, nothing else is looked at.
func TestNothingIsLookedAtWithoutAnAPIServer(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	plain := openshift()
	plain[askGroups] = metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: "apps"}}}
	for name, c := range map[string]struct {
		doctor *doctor.Doctor
		want   reason.Code
	}{
		"no API server": {doctorAt(t, &rest.Config{Host: gone.URL}), reason.APIServerUnreachable},
		"no Routes":     {doctorOf(t, plain), reason.RoutesNotServed},
	} {
		t.Run(name, func(t *testing.T) {
			findings := look(t, c.doctor)
			if len(findings) != 1 || findings[0].Status != doctor.Missing || findings[0].Code != c.want {
				t.Errorf("findings %+v, want %s alone", findings, c.want)
			}
		})
	}
}

// A fix can be given as it stands: with the namespace, the user, and commands as this user gives them.
func TestFixesNameNamespaceAndUser(t *testing.T) {
	placeholder := regexp.MustCompile(`\{[a-z-]+\}`)
	for _, c := range []struct {
		name    string
		user    any // the answer to who the user is
		command func(verb string) string
		want    []string
	}{
		{"a user who is known", openshift()[askUser], nil, []string{"-n shop", "--user=alice", "osc-debug manifests rbac"}},
		{"a user who is not known", http.StatusForbidden, nil, []string{"-n shop", "--user=YOU"}},
		{"a plugin of oc", openshift()[askUser], func(verb string) string { return "oc osc-debug " + verb }, []string{"oc osc-debug manifests rbac"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := openshift()
			a[askUser], a[askRules] = c.user, rules()
			d := doctorOf(t, a)
			d.Command = c.command
			findings := look(t, d)
			f, ok := withCode(findings, reason.PermissionsMissing)
			if !ok {
				t.Fatalf("no finding %s in %+v", reason.PermissionsMissing, findings)
			}
			for _, text := range c.want {
				if !strings.Contains(fixOf(f), text) {
					t.Errorf("no %q in: %s", text, fixOf(f))
				}
			}
			for _, f := range findings {
				if left := placeholder.FindString(fixOf(f)); left != "" {
					t.Errorf("%s: %s is not filled in: %s", f.Check, left, fixOf(f))
				}
			}
		})
	}
}

// When the user gives up, Look ends with the reason why, and makes no finding of it.
func TestLookEndsWithItsContext(t *testing.T) {
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	var findings []doctor.Finding
	err := doctorOf(t, openshift()).Look(ctx, func(f doctor.Finding) {
		findings = append(findings, f)
		cancel(interrupted)
	})
	if !errors.Is(err, interrupted) {
		t.Errorf("got %v, want %v", err, interrupted)
	}
	if len(findings) != 1 || findings[0].Status != doctor.OK {
		t.Errorf("findings %+v, want the one before", findings)
	}
}
