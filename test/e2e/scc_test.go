//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"
)

// scc is what a SecurityContextConstraints allows, and what it writes into pods.
type scc struct {
	name       string
	priority   int
	rank       int // among those of the same priority: the least permissive one is tried first
	privileged bool
	host       bool // host namespaces, ports and paths
	uid        uidRule
	level      bool // writes the namespace's SELinux level, and allows no other option
	escalation bool // allows allowPrivilegeEscalation
	add, drop  []corev1.Capability
	anySeccomp bool
}

// hostIP is the address at which the API server reaches this process.
const hostIP = "10.87.0.1"

type uidRule int

const (
	uidOfRange uidRule = iota
	uidNotRoot
	uidAny
)

// sccs are OpenShift's standard ones that matter here (openshift/cluster-kube-apiserver-operator,
// bindata/bootkube/scc-manifests), and ours (manifests/scc). Everybody may use restricted-v2.
var sccs = []scc{
	{name: "anyuid", priority: 10, rank: 1, uid: uidAny, level: true, escalation: true, drop: []corev1.Capability{"MKNOD"}},
	{name: "restricted-v2", rank: 1, level: true, add: []corev1.Capability{"NET_BIND_SERVICE"}, drop: []corev1.Capability{"ALL"}},
	{name: "nonroot-v2", rank: 2, uid: uidNotRoot, level: true, add: []corev1.Capability{"NET_BIND_SERVICE"}, drop: []corev1.Capability{"ALL"}},
	{name: "hostaccess", rank: 3, host: true, level: true, escalation: true, drop: []corev1.Capability{"KILL", "MKNOD", "SETUID", "SETGID"}},
	// As if an administrator had widened it in every way: the policies must hold by themselves.
	{name: "osc-debug-kata", rank: 4, privileged: true, host: true, uid: uidAny, escalation: true, add: []corev1.Capability{"*"}, anySeccomp: true},
	{name: "privileged", rank: 5, privileged: true, host: true, uid: uidAny, escalation: true, add: []corev1.Capability{"*"}, anySeccomp: true},
}

// sccAdmission stands in for OpenShift's SCC admission, which the local API server lacks: it picks the
// first SCC in OpenShift's order that admits the whole pod and that the requesting user or the pod's
// ServiceAccount may use, writes what the pod leaves open, and marks a new pod with the SCC
// (openshift/apiserver-library-go, pkg/securitycontextconstraints).
type sccAdmission struct {
	uids  [2]int64 // of the namespace
	level string
}

// startSCCAdmission starts the stand-in for the test's namespace.
func (e *env) startSCCAdmission() {
	e.t.Helper()
	a := sccAdmission{uids: [2]int64{1000650000, 10000}, level: ownLevel}
	_, err := core.CoreV1().Namespaces().Patch(e.t.Context(), e.ns, types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"openshift.io/sa.scc.mcs":"`+ownLevel+`","openshift.io/sa.scc.uid-range":"1000650000/10000"}}}`), metav1.PatchOptions{})
	e.ok(err)
	certificate, key, err := cert.GenerateSelfSignedCertKey(hostIP, []net.IP{net.ParseIP(hostIP)}, nil)
	e.ok(err)
	pair, err := tls.X509KeyPair(certificate, key)
	e.ok(err)
	listener, err := net.Listen("tcp", hostIP+":0")
	e.ok(err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(a.review))
	_ = server.Listener.Close()
	server.Listener, server.TLS = listener, &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	e.t.Cleanup(server.Close)
	fail, none, never := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.NeverReinvocationPolicy
	url, name := server.URL, e.ns+"-scc"
	hooks := core.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err = hooks.Create(e.t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "scc.e2e.osc-debug.dev", FailurePolicy: &fail, SideEffects: &none, ReinvocationPolicy: &never, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: certificate},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: e.ns}},
			Rules: []admissionregistrationv1.RuleWithOperations{
				{Operations: []admissionregistrationv1.OperationType{"CREATE"}, Rule: podRule("pods")},
				{Operations: []admissionregistrationv1.OperationType{"UPDATE"}, Rule: podRule("pods/ephemeralcontainers")},
			},
		}},
	}, metav1.CreateOptions{})
	e.ok(err)
	e.t.Cleanup(func() { _ = hooks.Delete(context.Background(), name, metav1.DeleteOptions{}) })
}

func podRule(resource string) admissionregistrationv1.Rule {
	return admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}}
}

// review answers one admission request.
func (a sccAdmission) review(w http.ResponseWriter, r *http.Request) {
	var in admissionv1.AdmissionReview
	var pod corev1.Pod
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := json.Unmarshal(in.Request.Object.Raw, &pod); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &admissionv1.AdmissionResponse{UID: in.Request.UID, Allowed: true}
	if pod.Spec.OS == nil || pod.Spec.OS.Name != corev1.Windows { // SCC admission ignores Windows pods
		name, err := a.admit(r.Context(), in.Request, &pod)
		if err != nil {
			out.Allowed, out.Result = false, &metav1.Status{Message: err.Error(), Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden}
		} else {
			out.Patch = a.patch(in.Request, &pod, name)
			jsonPatch := admissionv1.PatchTypeJSONPatch
			out.PatchType = &jsonPatch
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: in.TypeMeta, Response: out})
}

// admit changes the pod as the first SCC does that admits it, and returns the SCC's name.
func (a sccAdmission) admit(ctx context.Context, request *admissionv1.AdmissionRequest, pod *corev1.Pod) (string, error) {
	account := "system:serviceaccount:" + request.Namespace + ":" + cmp.Or(pod.Spec.ServiceAccountName, "default")
	wanted := pod.Annotations["openshift.io/required-scc"]
	order := slices.Clone(sccs)
	slices.SortFunc(order, func(x, y scc) int { return cmp.Or(cmp.Compare(y.priority, x.priority), cmp.Compare(x.rank, y.rank)) })
	for _, s := range order {
		if wanted != "" && wanted != s.name {
			continue
		}
		if s.name != "restricted-v2" && !mayUse(ctx, request.UserInfo.Username, request.UserInfo.Groups, request.Namespace, s.name) && !mayUse(ctx, account, nil, request.Namespace, s.name) {
			continue
		}
		changed := pod.DeepCopy()
		if a.apply(s, changed) {
			*pod = *changed
			return s.name, nil
		}
	}
	return "", fmt.Errorf("unable to validate against any security context constraint: none of those that %s or %s may use", request.UserInfo.Username, account)
}

// mayUse reports whether a user may use an SCC.
func mayUse(ctx context.Context, user string, groups []string, namespace, name string) bool {
	if strings.HasPrefix(user, "system:serviceaccount:") && groups == nil {
		groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	}
	review, err := core.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Group: "security.openshift.io", Resource: "securitycontextconstraints", Name: name, Verb: "use"},
	}}, metav1.CreateOptions{})
	return err == nil && review.Status.Allowed
}

// apply writes what the pod leaves open, and reports whether the SCC admits the pod.
func (a sccAdmission) apply(s scc, pod *corev1.Pod) bool {
	hosts := pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC || slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil })
	if hosts && !s.host {
		return false
	}
	if pod.Spec.SecurityContext == nil {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	p := pod.Spec.SecurityContext
	if s.level && p.SELinuxOptions == nil {
		p.SELinuxOptions = &corev1.SELinuxOptions{Level: a.level}
	}
	if p.SeccompProfile == nil && s.drop != nil && slices.Contains(s.drop, "ALL") {
		p.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	if !a.selinuxFits(s, p.SELinuxOptions) || !seccompFits(s, p.SeccompProfile) {
		return false
	}
	for i := range pod.Spec.InitContainers {
		if !a.applyTo(s, p, &pod.Spec.InitContainers[i].SecurityContext, pod.Spec.InitContainers[i].Ports) {
			return false
		}
	}
	for i := range pod.Spec.Containers {
		if !a.applyTo(s, p, &pod.Spec.Containers[i].SecurityContext, pod.Spec.Containers[i].Ports) {
			return false
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if !a.applyTo(s, p, &pod.Spec.EphemeralContainers[i].SecurityContext, nil) {
			return false
		}
	}
	return true
}

// applyTo is apply for one container.
func (a sccAdmission) applyTo(s scc, p *corev1.PodSecurityContext, at **corev1.SecurityContext, ports []corev1.ContainerPort) bool {
	if *at == nil {
		*at = &corev1.SecurityContext{}
	}
	c, yes, no := *at, true, false
	privileged := c.Privileged != nil && *c.Privileged
	if privileged && !s.privileged || !s.host && slices.ContainsFunc(ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 }) {
		return false
	}
	if c.AllowPrivilegeEscalation == nil && !s.escalation {
		c.AllowPrivilegeEscalation = &no
	}
	if c.AllowPrivilegeEscalation != nil && *c.AllowPrivilegeEscalation && !s.escalation {
		return false
	}
	uid := cmp.Or(c.RunAsUser, p.RunAsUser)
	switch {
	case s.uid == uidOfRange && uid == nil:
		uid = &a.uids[0]
		c.RunAsUser = uid
	case s.uid == uidNotRoot && uid == nil && c.RunAsNonRoot == nil:
		c.RunAsNonRoot = &yes
	}
	if s.uid == uidOfRange && (*uid < a.uids[0] || *uid >= a.uids[0]+a.uids[1]) || s.uid == uidNotRoot && uid != nil && *uid == 0 {
		return false
	}
	if len(s.drop) > 0 {
		if c.Capabilities == nil {
			c.Capabilities = &corev1.Capabilities{}
		}
		for _, drop := range s.drop {
			if !slices.Contains(c.Capabilities.Drop, drop) {
				c.Capabilities.Drop = append(c.Capabilities.Drop, drop)
			}
		}
	}
	if c.Capabilities != nil && !slices.Contains(s.add, "*") && slices.ContainsFunc(c.Capabilities.Add, func(add corev1.Capability) bool { return !slices.Contains(s.add, add) }) {
		return false
	}
	if c.ProcMount != nil && *c.ProcMount != corev1.DefaultProcMount && !s.privileged {
		return false
	}
	return (c.SELinuxOptions == nil || a.selinuxFits(s, c.SELinuxOptions)) && seccompFits(s, c.SeccompProfile)
}

func (a sccAdmission) selinuxFits(s scc, o *corev1.SELinuxOptions) bool {
	return !s.level || o != nil && *o == corev1.SELinuxOptions{Level: a.level}
}

func seccompFits(s scc, p *corev1.SeccompProfile) bool {
	return s.anySeccomp || p == nil || p.Type == corev1.SeccompProfileTypeRuntimeDefault
}

// patch returns the changes to the pod. The registry keeps the metadata and the other containers of a
// pod that gets an ephemeral container, so these are not changed.
func (a sccAdmission) patch(request *admissionv1.AdmissionRequest, pod *corev1.Pod, name string) []byte {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	operations := []operation{{"add", "/spec/ephemeralContainers", pod.Spec.EphemeralContainers}}
	if request.SubResource == "" {
		annotations := map[string]string{"openshift.io/scc": name}
		if p := pod.Spec.SecurityContext.SeccompProfile; p != nil {
			annotations["seccomp.security.alpha.kubernetes.io/pod"] = map[corev1.SeccompProfileType]string{
				corev1.SeccompProfileTypeRuntimeDefault: "runtime/default", corev1.SeccompProfileTypeUnconfined: "unconfined",
			}[p.Type]
		}
		for k, v := range pod.Annotations {
			if k != "openshift.io/scc" {
				annotations[k] = v
			}
		}
		operations = []operation{{"add", "/metadata/annotations", annotations}, {"add", "/spec/securityContext", pod.Spec.SecurityContext}}
		for i, c := range pod.Spec.Containers {
			operations = append(operations, operation{"add", "/spec/containers/" + strconv.Itoa(i) + "/securityContext", c.SecurityContext})
		}
		for i, c := range pod.Spec.InitContainers {
			operations = append(operations, operation{"add", "/spec/initContainers/" + strconv.Itoa(i) + "/securityContext", c.SecurityContext})
		}
	}
	out, err := json.Marshal(operations)
	if err != nil {
		panic(err) // cannot happen: these are plain values
	}
	return out
}
