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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// doctorClass is a runtime class of this test's own.
const doctorClass = "e2e-doctor"

// diagnosis is what doctor printed.
type diagnosis struct {
	result
	Findings []finding
}

type finding struct {
	Check, Status, Detail, Mend string
	Code                        reason.Code
}

// of gives the finding of a check.
func (d diagnosis) of(check string) finding {
	for _, f := range d.Findings {
		if f.Check == check {
			return f
		}
	}
	return finding{}
}

// wrong is what is not well, "" for nothing.
func (d diagnosis) wrong() (out string) {
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

// Each prerequisite of a session is taken away, one after the other: doctor finds it and
// names what mends it; after the mend it finds nothing missing.
func TestDoctorFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.sccResource()
	image := e.sidecar()
	e.installPolicy()
	account := e.ownGuards("images="+image, "runtimeClasses=kata kata-remote "+doctorClass)
	e.deployment("web", 9, nil) // more than a session at 100 % could carry: no matter
	e.route(nil)
	e.runtimeClass("")
	e.label("privileged")
	e.grant("alice")
	roles, err := exec.Command(binary, "manifests", "rbac").Output()
	e.ok(err)
	e.kubectl(string(roles), "apply", "-f", "-")
	guard := e.guard("one", account)
	guard.leads(t.Context(), "one")

	// This namespace is the guard's home: to the command it is namespace osc-debug.
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
		if err := json.Unmarshal([]byte(d.out), &d); err != nil {
			t.Fatalf("%v: %s", err, d)
		}
		return d
	}
	healthy := func(after string) {
		t.Helper()
		var wrong string
		if !await(t, e.ns, hang, unwatched, "all is well", func() bool { wrong = examine().wrong(); return wrong == "" }) {
			t.Fatalf("after %s still: %s", after, wrong)
		}
	}
	healthy("everything was set up")
	for _, c := range []struct {
		check, status      string
		why                reason.Code
		names, mend        string // in what is found, and what is told to do
		takeAway, giveBack func() // nil: the command that doctor prints, as an administrator
	}{
		{"API server", "missing", reason.RoutesNotServed, "", "use an OpenShift cluster", func() { routeless.Store(true) }, func() { routeless.Store(false) }},
		{"permissions", "missing", reason.PermissionsMissing, "alice", "oc create rolebinding osc-debug --clusterrole=osc-debug-user --user=alice -n " + e.ns, func() {
			e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), "alice-edit", metav1.DeleteOptions{}))
		}, nil},
		{"pod security", "missing", reason.PodSecurityEnforced, `"restricted"`, "oc label namespace " + e.ns + " pod-security.kubernetes.io/enforce=privileged", func() { e.label("restricted") }, nil},
		{"pod security", "warning", reason.PodSecurityUnset, "", "oc label namespace " + e.ns, func() { e.label("") }, nil},
		{"SCC", "missing", reason.SCCNotUsable, "alice", "--clusterrole=osc-debug-user --user=alice -n " + e.ns, func() {
			e.bind("alice", "edit")
			e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), "osc-debug", metav1.DeleteOptions{})) // the first mend's
			e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), "scc-alice", metav1.DeleteOptions{}))
			e.ok(core.RbacV1().Roles(e.ns).Delete(t.Context(), "scc-alice", metav1.DeleteOptions{}))
		}, nil},
		{"runtime class", "missing", reason.NoRuntimeClass, doctorClass, "install OpenShift sandboxed containers", e.noRuntimeClass, func() { e.runtimeClass("") }},
		{"runtime class", "missing", reason.RuntimeClassNotAllowed, ": kata", "name one with --runtime-class", func() { e.setting("runtimeClasses", "kata") }, func() { e.setting("runtimeClasses", "kata kata-remote "+doctorClass) }},
		{"sidecar image", "missing", reason.SidecarImageNotAllowed, approved, "oc edit configmap osc-debug", func() { e.setting("images", approved) }, func() { e.setting("images", image) }},
		{"sandbox pod", "missing", reason.ImageNotAllowed, image, "oc edit configmap osc-debug -n osc-debug", func() { e.setting("images", "") }, func() { e.setting("images", image) }},
		{"sandbox policy", "missing", reason.SCCWithoutSandboxPolicy, "", "osc-debug manifests policy", func() {
			e.ok(core.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), e.ns+"-osc-debug-sandbox", metav1.DeleteOptions{}))
		}, func() { e.bindPolicy(e.ns+"-osc-debug-sandbox", true) }},
		{"sandbox policy", "missing", reason.SCCPolicyNotInForce, "", "osc-debug manifests policy", func() {
			e.ok(core.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(t.Context(), e.ns+"-osc-debug-scc", metav1.DeleteOptions{}))
		}, func() { e.bindPolicy(e.ns+"-osc-debug-scc", false) }},
		{"guard's rights", "missing", reason.GuardDoesNotCover, e.ns, "oc create rolebinding osc-debug-guard -n " + e.ns, func() { e.setting("namespaces", "") }, func() { e.setting("namespaces", e.ns) }},
		{"guard's rights", "missing", reason.GuardTooOld, "version 0", "osc-debug manifests guard", func() { e.guardReads(0) }, func() { e.guardReads(record.JournalVersion) }},
		{"settings", "missing", reason.SettingsInvalid, "drain", "oc edit configmap osc-debug -n osc-debug", func() { e.setting("drain", "soon") }, func() { e.setting("drain", "1s") }},
		{"route: balance", "missing", reason.BalanceIgnoresWeights, "leastconn", "set it to roundrobin", func() { e.annotate("leastconn") }, func() { e.annotate("roundrobin") }},
		{"guard", "missing", reason.GuardLeaseStale, "", "oc get pods -n osc-debug", func() { guard.signal(9) }, func() { e.guard("two", account).leads(t.Context(), "two") }},
		{"settings", "missing", reason.SettingsMissing, e.ns, "osc-debug manifests guard --image", func() { e.parameters(nil) }, func() {
			e.parameters(map[string]string{"images": image, "runtimeClasses": "kata " + doctorClass, "namespaces": e.ns})
		}},
	} {
		c.takeAway()
		var d diagnosis
		var f finding
		e.eventually(c.check+" is found", func() bool {
			d = examine()
			f = d.of(c.check)
			return f.Status == c.status
		})
		if f.Code != c.why || !strings.Contains(f.Detail, c.names) || !strings.Contains(f.Mend, c.mend) {
			t.Errorf("%s: found %+v, wanted %s with %q and %q", c.check, f, c.why, c.names, c.mend)
		}
		if (d.code == 1) != (c.status == "missing") {
			t.Errorf("%s: exit code %d", c.check, d.code)
		}
		if c.giveBack == nil {
			e.mend(f.Mend)
		} else {
			c.giveBack()
		}
		healthy(c.check)
	}

	if f := examine("--sidecar-image", "quay.io/osc-debug/sidecar:latest").of("sidecar image"); f.Status != "missing" || f.Code != reason.SidecarImageNoDigest {
		t.Errorf("an image by tag: %+v", f)
	}

	// What only a pod shows.
	none := "quay.io/osc-debug/none@sha256:" + strings.Repeat("6", 64)
	e.setting("images", image+" "+none)
	e.eventually("the policy allows it", func() bool { return examine("--sidecar-image", none).code == 0 })
	for _, c := range []struct { // in this order: a node is missing from then on
		name     string
		args     []string
		takeAway func()
		why      reason.Code
		names    string
	}{
		{"no such image", []string{"--sidecar-image", none}, func() {}, reason.SidecarNotPulled, none},
		{"no node", nil, func() { e.noRuntimeClass(); e.runtimeClass("nowhere") }, reason.NoNodeForSandbox, doctorClass},
	} {
		c.takeAway()
		d := examine(append([]string{"--try", "--timeout", "60s"}, c.args...)...)
		if f := d.of("sandbox starts"); f.Status != "missing" || d.code != 1 || f.Code != c.why || !strings.Contains(f.Detail, c.names) {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	e.noRuntimeClass()
	e.runtimeClass("")
	if d := examine("--try", "--timeout", "100s"); d.code != 0 {
		t.Errorf("a sandbox does not start: %s", d)
	} else if d.of("sandbox starts").Status != "ok" {
		t.Errorf("a sandbox was not started: %s", d)
	}
	e.eventually("nothing of doctor's is left", func() bool { return e.sandboxes() == 0 })
	if s := record.Of(e.routeNamed("shop")); s != nil {
		t.Errorf("doctor left a mark: %+v", s)
	}
}

// mend runs the last command of a mend, as an administrator would.
func (e *env) mend(text string) {
	e.t.Helper()
	commands := regexp.MustCompile(`'oc ([^']+)'`).FindAllStringSubmatch(text, -1)
	if commands == nil {
		e.t.Fatalf("no command in %q", text)
	}
	e.kubectl("", strings.Fields(commands[len(commands)-1][1])...)
}

// sccResource has the API server know SecurityContextConstraints, without their admission.
func (e *env) sccResource() {
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

// sidecar is the image that the command has built in.
func (e *env) sidecar() string {
	e.t.Helper()
	var built struct{ SidecarImage string }
	e.ok(json.Unmarshal([]byte(e.cli("version", "-o", "json").out), &built))
	return built.SidecarImage
}

// runtimeClass makes this test's runtime class: as kata, but where node is given on such
// nodes only.
func (e *env) runtimeClass(node string) {
	e.t.Helper()
	class, err := core.NodeV1().RuntimeClasses().Get(e.t.Context(), "kata", metav1.GetOptions{})
	e.ok(err)
	class.ObjectMeta = metav1.ObjectMeta{Name: doctorClass}
	if node != "" {
		class.Scheduling.NodeSelector = map[string]string{"e2e/doctor": node}
	}
	_, err = core.NodeV1().RuntimeClasses().Create(e.t.Context(), class, metav1.CreateOptions{})
	e.ok(err)
	e.t.Cleanup(e.noRuntimeClass)
}

func (e *env) noRuntimeClass() {
	e.kubectl("", "delete", "runtimeclass", doctorClass, "--ignore-not-found")
}

// label sets the namespace's pod security level, "" for none.
func (e *env) label(level string) {
	e.t.Helper()
	value := "null"
	if level != "" {
		value = fmt.Sprintf("%q", level)
	}
	_, err := core.CoreV1().Namespaces().Patch(e.t.Context(), e.ns, types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":`+value+`}}}`), metav1.PatchOptions{})
	e.ok(err)
}

// setting changes one of the guard's settings.
func (e *env) setting(key, value string) {
	e.t.Helper()
	_, err := core.CoreV1().ConfigMaps(e.ns).Patch(e.t.Context(), settingsName, types.MergePatchType, fmt.Appendf(nil, `{"data":{%q:%q}}`, key, value), metav1.PatchOptions{})
	e.ok(err)
}

// guardReads writes of the guard which journals it reads, as one that is older or newer would.
func (e *env) guardReads(version int) {
	e.t.Helper()
	_, err := core.CoreV1().ConfigMaps(e.ns).Patch(e.t.Context(), settings.StatusName, types.MergePatchType, fmt.Appendf(nil, `{"data":{"journal":"%d"}}`, version), metav1.PatchOptions{})
	e.ok(err)
}

// annotate sets the Route's balance algorithm.
func (e *env) annotate(balance string) {
	e.t.Helper()
	_, err := routes.RouteV1().Routes(e.ns).Patch(e.t.Context(), "shop", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"haproxy.router.openshift.io/balance":%q}}}`, balance), metav1.PatchOptions{})
	e.ok(err)
}
