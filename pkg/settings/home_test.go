package settings_test

import (
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
	"github.com/osc-debug/osc-debug/test/canned"
)

func namespace(labels, annotations map[string]string) *corev1.Namespace {
	return &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: settings.Home, Labels: labels, Annotations: annotations}}
}

func configMap(home, maxDuration string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: settings.ConfigName},
		Data: map[string]string{"runtimeClasses": "kata", "maxDuration": maxDuration},
	}
}

// The settings of namespace osc-debug apply only if a cluster administrator set it up. Otherwise those of
// the namespace itself apply, or the defaults.
func TestOnlyATrustedHomeIsBelieved(t *testing.T) {
	trusted, someone := map[string]string{settings.TrustLabel: settings.Trusted}, map[string]string{"openshift.io/requester": "mallory"}
	for name, c := range map[string]struct {
		home any // namespace osc-debug
		own  bool
		want string
		code reason.Code // of Read
	}{
		"set up by an administrator":        {namespace(trusted, nil), true, "1h0m0s", ""},
		"requested by someone":              {namespace(nil, someone), false, record.Longest.String(), reason.HomeNotTrusted},
		"requested by someone, beside own":  {namespace(nil, someone), true, "2h0m0s", reason.HomeNotTrusted},
		"requested, then set up":            {namespace(trusted, someone), true, "2h0m0s", reason.HomeNotTrusted},
		"another value of the label":        {namespace(map[string]string{settings.TrustLabel: "yes"}, nil), true, "2h0m0s", reason.HomeNotTrusted},
		"without marks":                     {namespace(nil, nil), false, record.Longest.String(), reason.HomeNotTrusted},
		"not to be read":                    {http.StatusForbidden, true, "2h0m0s", ""},
		"there is no namespace osc-debug":   {nil, true, "2h0m0s", ""},
		"there is none, and no settings":    {nil, false, record.Longest.String(), ""},
		"not to be read, and nothing of it": {http.StatusForbidden, false, record.Longest.String(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			answers := canned.Answers{
				"GET /api/v1/namespaces/osc-debug":                      c.home,
				"GET /api/v1/namespaces/osc-debug/configmaps/osc-debug": configMap(settings.Home, "1h"),
			}
			if c.own {
				answers["GET /api/v1/namespaces/shop/configmaps/osc-debug"] = configMap("shop", "2h")
			}
			core, err := kubernetes.NewForConfig(answers.Serve(t))
			if err != nil {
				t.Fatal(err)
			}
			got, err := settings.Find(t.Context(), core, nil, "shop")
			if err != nil || got.MaxDuration.String() != c.want {
				t.Errorf("sessions last at most %s, want %s; %v", got.MaxDuration, c.want, err)
			}
			if _, err := settings.Read(t.Context(), core, nil, settings.Home); reason.CodeOf(err) != c.code || err == nil && c.home == nil || err != nil && c.code == "" && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
				t.Errorf("read: %v, want %q", err, c.code)
			}
		})
	}
}
