//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// doctorClass is a RuntimeClass that only this test uses.
const doctorClass = "e2e-doctor"

// diagnosis is what doctor printed.
type diagnosis struct {
	result
	Findings []finding
}

type finding struct {
	Check, Status, Detail string
	Fix                   string `json:"mend"`
	Code                  reason.Code
}

// finding returns the finding of a check.
func (d diagnosis) finding(check string) finding {
	for _, f := range d.Findings {
		if f.Check == check {
			return f
		}
	}
	return finding{}
}

// problems describes all findings that are not ok, "" if there are none.
func (d diagnosis) problems() (out string) {
	if d.code != 0 {
		out = d.errOut
	}
	for _, f := range d.Findings {
		if f.Status != "ok" {
			out += fmt.Sprintf("%+v\n", f)
		}
	}
	return out
}

// The prerequisites of a session are removed one at a time. doctor finds each and names the fix; after
// the fix, doctor finds nothing missing.
func TestDoctorFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.createSCCResource()
	image := e.builtInSidecar()
	e.startSCCAdmission()
	e.installPolicy()
	account := e.prepareOwnGuard("images="+image, "runtimeClasses=kata kata-remote "+doctorClass)
	e.deployment("web", 9, func(d *appsv1.Deployment, _ *corev1.Service) { // too many pods for a session at 100 %, which does not matter here
		d.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("32Mi")}
	})
	e.route(nil)
	e.createRuntimeClass("")
	e.setPodSecurity("privileged")
	e.grantSCC("alice")
	roles, err := exec.Command(binary, "manifests", "rbac").Output()
	e.ok(err)
	e.kubectl(string(roles), "apply", "-f", "-")
	guard := e.startGuard("one", account)
	guard.waitUntilLeading(t.Context(), "one")

	// The test's namespace is the guard's home: the proxy maps namespace osc-debug to it.
	var routeless atomic.Bool
	config := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if routeless.Load() && r.URL.Path == "/apis" { // as plain Kubernetes answers
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
			return
		}
		r.URL.Path = strings.Replace(r.URL.Path, "/namespaces/osc-debug/", "/namespaces/"+e.ns+"/", 1)
		forward(w, r)
	})
	examine := func(args ...string) diagnosis {
		d := diagnosis{result: e.start(config, append([]string{"doctor", "-o", "json", "--route", "shop", "--runtime-class", doctorClass}, args...)...).wait()}
		if err := json.Unmarshal([]byte(d.out), &d); err != nil && !d.reports(reason.ObjectsLeftBehind) {
			t.Fatalf("%v: %s", err, d)
		}
		return d
	}
	// try has doctor start a pod. In the emulated VM of a busy machine, pods may start and end later than doctor waits.
	// Doctor then says so, and is asked again.
	try := func(what string, found func(d diagnosis) bool, args ...string) {
		t.Helper()
		var d diagnosis
		if !waitUntil(t, e.ns, hang, pollInterval, what, func() bool {
			d = examine(append([]string{"--try"}, args...)...)
			return found(d) || !d.reports(reason.ObjectsLeftBehind) && d.finding("sandbox starts").Code != reason.SandboxPodNotStarted
		}) || !found(d) {
			t.Errorf("%s: %s", what, d)
		}
	}
	healthy := func(after string) {
		t.Helper()
		var wrong string
		if !waitUntil(t, e.ns, hang, pollInterval, "doctor finds no problem", func() bool { wrong = examine().problems(); return wrong == "" }) {
			t.Fatalf("after %s doctor still finds: %s", after, wrong)
		}
	}
	healthy("everything was set up")
	for _, c := range []struct {
		check, status   string
		why             reason.Code
		names, fix      string // parts of the finding's detail and of its fix
		breakIt, repair func() // repair nil: run the command that doctor prints, as an administrator
	}{
		{"API server", "missing", reason.RoutesNotServed, "", "use an OpenShift cluster", func() { routeless.Store(true) }, func() { routeless.Store(false) }},
		{"permissions", "missing", reason.PermissionsMissing, "alice", "oc create rolebinding osc-debug --clusterrole=osc-debug-user --user=alice -n " + e.ns, func() {
			e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), "alice-edit", metav1.DeleteOptions{}))
		}, nil},
		{"pod security", "missing", reason.PodSecurityEnforced, `"restricted"`, "oc label namespace " + e.ns + " pod-security.kubernetes.io/enforce=privileged", func() { e.setPodSecurity("restricted") }, nil},
		{"pod security", "warning", reason.WindowsPodsAllowed, "", "oc label namespace " + e.ns + " osc-debug.dev/sessions=allowed", func() {
			_, err := core.CoreV1().Namespaces().Patch(t.Context(), e.ns, types.MergePatchType, []byte(`{"metadata":{"labels":{"osc-debug.dev/sessions":null}}}`), metav1.PatchOptions{})
			e.ok(err)
		}, nil},
		{"pod security", "warning", reason.PodSecurityUnset, "", "oc label namespace " + e.ns, func() { e.setPodSecurity("") }, nil},
		{"SCC", "missing", reason.SCCNotUsable, "alice", "--clusterrole=osc-debug-user --user=alice -n " + e.ns, func() {
			e.bind("alice", "edit")
			e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), "osc-debug", metav1.DeleteOptions{})) // created by the first fix
			e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), "scc-alice", metav1.DeleteOptions{}))
			e.ok(core.RbacV1().Roles(e.ns).Delete(t.Context(), "scc-alice", metav1.DeleteOptions{}))
		}, nil},
		{"runtime class", "missing", reason.NoRuntimeClass, doctorClass, "install OpenShift sandboxed containers", e.deleteRuntimeClass, func() { e.createRuntimeClass("") }},
		{"runtime class", "missing", reason.RuntimeClassNotAllowed, ": kata", "use an allowed one with --runtime-class", func() { e.setSetting("runtimeClasses", "kata") }, func() { e.setSetting("runtimeClasses", "kata kata-remote "+doctorClass) }},
		{"sidecar image", "missing", reason.SidecarImageNotAllowed, approvedImage, "oc edit configmap osc-debug", func() { e.setSetting("images", approvedImage) }, func() { e.setSetting("images", image) }},
		{"sandbox pod", "missing", reason.ImageNotAllowed, image, "oc edit configmap osc-debug -n osc-debug", func() { e.setSetting("images", "") }, func() { e.setSetting("images", image) }},
		{"sandbox policy", "missing", reason.SCCWithoutSandboxPolicy, "", "osc-debug manifests policy", func() {
			e.ok(core.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), e.ns+"-osc-debug-sandbox", metav1.DeleteOptions{}))
		}, func() { e.bindPolicy(e.ns+"-osc-debug-sandbox", true) }},
		{"sandbox policy", "missing", reason.SCCPolicyNotInForce, "", "osc-debug manifests policy", func() {
			e.ok(core.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), e.ns+"-osc-debug-scc", metav1.DeleteOptions{}))
		}, func() { e.bindPolicy(e.ns+"-osc-debug-scc", false) }},
		{"guard's rights", "missing", reason.GuardDoesNotCover, e.ns, "oc create rolebinding osc-debug-guard -n " + e.ns, func() { e.setSetting("namespaces", "") }, func() { e.setSetting("namespaces", e.ns) }},
		{"guard's rights", "missing", reason.GuardTooOld, "version 0", "osc-debug manifests guard", func() { e.setGuardJournalVersion(0) }, func() { e.setGuardJournalVersion(record.JournalVersion) }},
		{"settings", "missing", reason.SettingsInvalid, "drain", "oc edit configmap osc-debug -n osc-debug", func() { e.setSetting("drain", "soon") }, func() { e.setSetting("drain", "1s") }},
		{"route: balance", "missing", reason.BalanceIgnoresWeights, "leastconn", "set it to roundrobin", func() { e.setBalance("leastconn") }, func() { e.setBalance("roundrobin") }},
		{"guard", "missing", reason.GuardLeaseStale, "", "oc get pods -n osc-debug", func() { guard.signal(9) }, func() { e.startGuard("two", account).waitUntilLeading(t.Context(), "two") }},
		{"settings", "missing", reason.SettingsMissing, e.ns, "osc-debug manifests guard --image", func() { e.setParameters(nil) }, func() {
			e.setParameters(map[string]string{"images": image, "runtimeClasses": "kata " + doctorClass, "namespaces": e.ns})
		}},
	} {
		c.breakIt()
		var d diagnosis
		var f finding
		e.eventually("doctor finds a problem with "+c.check, func() bool {
			d = examine()
			f = d.finding(c.check)
			return f.Status == c.status
		})
		if f.Code != c.why || !strings.Contains(f.Detail, c.names) || !strings.Contains(f.Fix, c.fix) {
			t.Errorf("%s: found %+v, wanted %s with %q and fix %q", c.check, f, c.why, c.names, c.fix)
		}
		if (d.code == 1) != (c.status == "missing") {
			t.Errorf("%s: exit code %d", c.check, d.code)
		}
		if c.repair == nil {
			e.runFix(f.Fix)
		} else {
			c.repair()
		}
		healthy("the fix of " + c.check)
	}

	if f := examine("--sidecar-image", "quay.io/osc-debug/sidecar:latest").finding("sidecar image"); f.Status != "missing" || f.Code != reason.SidecarImageNoDigest {
		t.Errorf("an image by tag: %+v", f)
	}

	// Problems that only a pod shows.
	none := "quay.io/osc-debug/none@sha256:" + strings.Repeat("6", 64)
	e.setSetting("images", image+" "+none)
	e.eventually("the policy allows the image", func() bool { return examine("--sidecar-image", none).code == 0 })
	e.reserveVM()
	missing := func(why reason.Code, names string) func(d diagnosis) bool {
		return func(d diagnosis) bool {
			f := d.finding("sandbox starts")
			return d.code == 1 && f.Status == "missing" && f.Code == why && strings.Contains(f.Detail, names)
		}
	}
	try("no such image", missing(reason.SidecarNotPulled, none), "--timeout", "60s", "--sidecar-image", none)
	e.deleteRuntimeClass()
	e.createRuntimeClass("nowhere")
	try("no node", missing(reason.NoNodeForSandbox, doctorClass), "--timeout", "60s")
	e.deleteRuntimeClass()
	e.createRuntimeClass("")
	try("the sandbox starts", func(d diagnosis) bool { return d.code == 0 && d.finding("sandbox starts").Status == "ok" }, "--timeout", "100s")
	e.eventually("no objects of doctor are left", func() bool { return e.countSessionObjects() == 0 })
	if s := record.Of(e.getRoute("shop")); s != nil {
		t.Errorf("doctor left a mark on the Route: %+v", s)
	}
}

// fixCommand matches an oc command at the end of a fix or on a line of its own.
var fixCommand = regexp.MustCompile(`(?m)(?:^|: )\s*oc (.+)$`)

// runFix runs the last oc command of a fix, as an administrator would.
func (e *env) runFix(text string) {
	e.t.Helper()
	commands := fixCommand.FindAllStringSubmatch(text, -1)
	if commands == nil {
		e.t.Fatalf("no oc command in %q", text)
	}
	e.kubectl("", strings.Fields(commands[len(commands)-1][1])...)
}

// createSCCResource makes the API server serve SecurityContextConstraints, without their admission.
func (e *env) createSCCResource() {
	e.t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/openshift/api").Output()
	e.ok(err)
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "security/v1/zz_generated.crd-manifests/*securitycontextconstraints.crd.yaml"))
	e.ok(err)
	if len(files) == 0 {
		e.t.Fatal("the module of OpenShift's API has no SecurityContextConstraints")
	}
	e.kubectl("", "apply", "--server-side", "-f", files[0])
}

// builtInSidecar returns the command's built-in sidecar image.
func (e *env) builtInSidecar() string {
	e.t.Helper()
	var built struct{ SidecarImage string }
	e.ok(json.Unmarshal([]byte(e.cli("version", "-o", "json").out), &built))
	return built.SidecarImage
}

// createRuntimeClass creates doctorClass as a copy of RuntimeClass kata. If node is not "", the class
// selects only nodes with label e2e/doctor set to it.
func (e *env) createRuntimeClass(node string) {
	e.t.Helper()
	class, err := core.NodeV1().RuntimeClasses().Get(e.t.Context(), "kata", metav1.GetOptions{})
	e.ok(err)
	class.ObjectMeta = metav1.ObjectMeta{Name: doctorClass}
	if node != "" {
		class.Scheduling.NodeSelector = map[string]string{"e2e/doctor": node}
	}
	_, err = core.NodeV1().RuntimeClasses().Create(e.t.Context(), class, metav1.CreateOptions{})
	e.ok(err)
	e.t.Cleanup(e.deleteRuntimeClass)
}

func (e *env) deleteRuntimeClass() {
	e.kubectl("", "delete", "runtimeclass", doctorClass, "--ignore-not-found")
}

// setPodSecurity sets the pod security level that the namespace enforces, "" for none.
func (e *env) setPodSecurity(level string) {
	e.t.Helper()
	value := "null"
	if level != "" {
		value = fmt.Sprintf("%q", level)
	}
	_, err := core.CoreV1().Namespaces().Patch(e.t.Context(), e.ns, types.MergePatchType, []byte(`{"metadata":{"labels":{"osc-debug.dev/sessions":"allowed","pod-security.kubernetes.io/enforce":`+value+`}}}`), metav1.PatchOptions{})
	e.ok(err)
}

// setSetting changes one of the guard's settings in the test's namespace.
func (e *env) setSetting(key, value string) {
	e.t.Helper()
	_, err := core.CoreV1().ConfigMaps(e.ns).Patch(e.t.Context(), settingsName, types.MergePatchType, fmt.Appendf(nil, `{"data":{%q:%q}}`, key, value), metav1.PatchOptions{})
	e.ok(err)
}

// setGuardJournalVersion writes into the guard's status which journal version it reads, as an
// older or newer guard would.
func (e *env) setGuardJournalVersion(version int) {
	e.t.Helper()
	_, err := core.CoreV1().ConfigMaps(e.ns).Patch(e.t.Context(), settings.StatusName, types.MergePatchType, fmt.Appendf(nil, `{"data":{"journal":"%d"}}`, version), metav1.PatchOptions{})
	e.ok(err)
}

// setBalance sets the Route's balance algorithm.
func (e *env) setBalance(balance string) {
	e.t.Helper()
	_, err := routes.RouteV1().Routes(e.ns).Patch(e.t.Context(), "shop", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"haproxy.router.openshift.io/balance":%q}}}`, balance), metav1.PatchOptions{})
	e.ok(err)
}
