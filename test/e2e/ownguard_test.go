//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// prepareOwnGuard prepares the test's namespace for its own guards, which run as processes beside
// the test. It applies the manifests of a team's guard except the Deployment, with settings given
// as KEY=VALUE, and returns a kubeconfig with a token of the guard's ServiceAccount.
func (e *env) prepareOwnGuard(settings ...string) string {
	e.t.Helper()
	printed, err := teamGuardManifests()
	e.ok(err)
	set := map[string]string{"drain": "1s", "grace": "2s"}
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		set[key] = value
	}
	ctx, options := e.t.Context(), metav1.CreateOptions{}
	for _, m := range strings.Split(strings.ReplaceAll(printed, anyNamespace, e.ns), "\n---\n") {
		object, err := decodeObject([]byte(m))
		e.ok(err)
		switch o := object.(type) {
		case *appsv1.Deployment, *policyv1.PodDisruptionBudget: // the guards run beside the test instead
		case *corev1.ServiceAccount:
			_, err = core.CoreV1().ServiceAccounts(e.ns).Create(ctx, o, options)
		case *corev1.ConfigMap:
			if o.Name == settingsName {
				maps.Copy(o.Data, set)
			}
			if _, err = core.CoreV1().ConfigMaps(e.ns).Create(ctx, o, options); apierrors.IsAlreadyExists(err) {
				_, err = core.CoreV1().ConfigMaps(e.ns).Update(ctx, o, metav1.UpdateOptions{})
			}
		case *rbacv1.Role:
			_, err = core.RbacV1().Roles(e.ns).Create(ctx, o, options)
		case *rbacv1.RoleBinding:
			_, err = core.RbacV1().RoleBindings(e.ns).Create(ctx, o, options)
		default:
			err = fmt.Errorf("the manifests of a team's guard have a %T, which this test cannot apply", o)
		}
		e.ok(err)
	}
	return e.serviceAccountKubeconfig("osc-debug-guard")
}

// anyNamespace is the placeholder for the namespace in teamGuardManifests.
const anyNamespace = "any-namespace-of-a-test"

// teamGuardManifests returns the output of 'osc-debug manifests guard-team'. The command runs only
// once, because hundreds of tests have their own guards.
var teamGuardManifests = sync.OnceValues(func() (string, error) {
	printed, err := exec.Command(binary, "manifests", "guard-team", "-n", anyNamespace).Output()
	return string(printed), err
})

const settingsName = settings.ConfigName

// serviceAccountKubeconfig writes a kubeconfig with a token of one of the namespace's
// ServiceAccounts and returns its path.
func (e *env) serviceAccountKubeconfig(account string) string {
	e.t.Helper()
	token, err := core.CoreV1().ServiceAccounts(e.ns).CreateToken(e.t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	e.ok(err)
	config, err := clientcmd.LoadFromFile(kubeconfig("alice"))
	e.ok(err)
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	path := filepath.Join(e.t.TempDir(), account+".conf")
	e.ok(clientcmd.WriteToFile(*config, path))
	return path
}

// impersonate writes a kubeconfig that acts as a user and returns its path.
func (e *env) impersonate(user string) string {
	e.t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig("admin"))
	e.ok(err)
	for _, a := range config.AuthInfos {
		a.Impersonate, a.ImpersonateGroups = user, []string{"system:authenticated"}
	}
	path := filepath.Join(e.t.TempDir(), user+".conf")
	e.ok(clientcmd.WriteToFile(*config, path))
	return path
}

// kubectl runs kubectl as the administrator with a standard input, and returns its output.
func (e *env) kubectl(in string, args ...string) string {
	e.t.Helper()
	cmd := kubectlAs("admin", args...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// kubectlAs prepares kubectl as a user.
func kubectlAs(user string, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(state, "kubectl"), append([]string{"--kubeconfig", kubeconfig(user)}, args...)...)
}

// startGuard starts a replica of the guard with a kubeconfig, such as that of prepareOwnGuard.
func (e *env) startGuard(name, config string, args ...string) *running {
	e.t.Helper()
	return e.startProcess(exec.Command(filepath.Join(filepath.Dir(binary), "osc-guard"),
		append([]string{"--home", e.ns, "--kubeconfig", config, "--name", name, "--listen", "127.0.0.1:0"}, args...)...))
}

// hasGuard says whether the namespace's own guard covers it.
func (e *env) hasGuard() bool {
	g, err := standby.Read(e.t.Context(), core, nil, e.ns)
	return err == nil && g.Covers(e.ns)
}

// waitUntilLeading waits until a replica holds the Lease; it returns false if the replica ended
// before.
func (r *running) waitUntilLeading(ctx context.Context, name string) bool {
	ended, leads := false, false
	waitUntil(r.e.t, r.e.ns, hang, pollInterval, "guard "+name+" leads", func() bool {
		select {
		case <-r.done:
			ended = true
		default:
			lease, err := core.CoordinationV1().Leases(r.e.ns).Get(ctx, settings.LeaseName, metav1.GetOptions{})
			leads = err == nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == name
		}
		return ended || leads
	})
	if !ended && !leads {
		r.e.t.Errorf("guard %s did not lead within %s:\n%s", name, hang, r.progress.String())
	}
	return leads
}

// A team without a cluster administrator can run a guard in its own namespace: a user with role
// admin installs it, shift finds it, and it ends the session.
func TestATeamsOwnGuard(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.bind("bob", "admin")
	printed, err := exec.Command(binary, "manifests", "guard-team", "-n", e.ns).Output()
	e.ok(err)
	apply := kubectlAs("bob", "apply", "-f", "-")
	apply.Stdin = bytes.NewReader(printed)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// An update, which applies the manifests again, keeps changed settings.
	e.setSetting("maxDuration", "1h")
	apply = kubectlAs("bob", "apply", "-f", "-")
	apply.Stdin = bytes.NewReader(printed)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s, err := settings.Read(t.Context(), core, nil, e.ns); err != nil || s.MaxDuration != time.Hour {
		t.Errorf("settings after the update: %+v, %v", s, err)
	}
	e.setSetting("maxDuration", "3h50m")
	before := e.createShop()
	e.eventually("the guard is running", e.hasGuard)
	e.detachedShift("--weight", "100", "--ttl", "10s")
	e.waitForEnd(before)
	metrics := e.metrics()
	for _, want := range []string{`osc_debug_guard_restores_total{reason="Expired"} 1`, "osc_debug_guard_leader 1", "osc_debug_guard_leader 0", "osc_debug_guard_restore_seconds_count 1", `osc_debug_guard_sessions{state="live"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the two replicas' metrics have no %s", want)
		}
	}
	if n := strings.Count(metrics, "\nosc_debug_guard_failures_total 0\n"); n != 2 {
		t.Errorf("%d of 2 replicas had no failures, wanted both", n)
	}
}

// The Lease of a guard that just died still looks fresh, so shift moves no users before the guard
// has renewed it.
func TestADeadGuardsFreshLeaseIsNotEnough(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	before := e.createShop()
	account := e.prepareOwnGuard()
	var r result
	tries := 0
	e.eventually("a command begins while the dead guard's Lease is fresh", func() bool {
		tries++
		name := fmt.Sprintf("only-%d", tries)
		g := e.startGuard(name, account)
		if !g.waitUntilLeading(t.Context(), name) {
			t.Fatal(g.wait())
		}
		e.eventually("the guard is running", e.hasGuard)
		g.signal(syscall.SIGKILL)
		g.wait()
		r = e.guardedShift("--weight", "100", "--detach", "--drain", "1s").wait()
		return !r.reports(reason.GuardNotRunning) // on a busy machine, the command may begin too late
	})
	if r.code != 1 || !r.reports(reason.GuardStoppedRenewing) {
		t.Errorf("wanted a refusal because of the guard: %s", r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// The guard stops covering a namespace in which it loses its rights, and covers it again when it has
// them back. It uses the last valid settings meanwhile, even if the current ones are invalid or gone.
func TestLostRightsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*env){
		"invalid settings": func(e *env) { e.setSetting("grace", "soon") },
		"deleted settings": func(e *env) {
			e.ok(core.CoreV1().ConfigMaps(e.ns).Delete(e.t.Context(), settings.ConfigName, metav1.DeleteOptions{}))
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); testLostRights(t, spoil) })
	}
}

func testLostRights(t *testing.T, spoil func(*env)) {
	e := newEnv(t)
	account := e.prepareOwnGuard()
	e.deployment("web", 1, nil)
	e.route(nil)
	if g := e.startGuard("one", account, "--relist", "2s"); !g.waitUntilLeading(t.Context(), "one") {
		t.Fatal(g.wait())
	}
	covered := func(want bool) {
		t.Helper()
		e.eventually(fmt.Sprintf("covered: %v", want), func() bool {
			g, err := standby.Read(t.Context(), core, nil, e.ns)
			return err == nil && g.Covers(e.ns) == want
		})
	}
	covered(true)
	spoil(e)
	binding, err := core.RbacV1().RoleBindings(e.ns).Get(t.Context(), "osc-debug-guard", metav1.GetOptions{})
	e.ok(err)
	e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), binding.Name, metav1.DeleteOptions{}))
	covered(false)
	if r := e.guardedShift("--weight", "50", "--detach").wait(); r.code == 0 || !r.reports(reason.GuardNotRunning) || !r.mentions("oc create rolebinding osc-debug-guard -n "+e.ns) {
		t.Errorf("a session started where the guard could not end it: %s", r)
	}
	binding.ResourceVersion, binding.UID = "", ""
	_, err = core.RbacV1().RoleBindings(e.ns).Create(t.Context(), binding, metav1.CreateOptions{})
	e.ok(err)
	covered(true)
}

// A guard of all namespaces, which is opt-in, ends sessions in a namespace that is not listed. The
// test does not run in parallel, because the guard would also act on other tests' sessions.
func TestAGuardOfAllNamespaces(t *testing.T) {
	home, e := newEnv(t), newEnv(t)
	printed, err := exec.Command(binary, "manifests", "guard-all-namespaces").Output()
	e.ok(err)
	if out := e.kubectl(string(printed), "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "yaml", "-f", "-"); !strings.Contains(out, "namespaces: '*'") || !strings.Contains(out, "kind: ClusterRoleBinding") {
		t.Errorf("the manifests of guard-all-namespaces: %s", out)
	}
	account := home.prepareOwnGuard("namespaces=" + settings.AllNamespaces)
	binding, err := core.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: home.ns}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "osc-debug-guard"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "osc-debug-guard", Namespace: home.ns}},
	}, metav1.CreateOptions{})
	e.ok(err)
	t.Cleanup(func() {
		_ = core.RbacV1().ClusterRoleBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
	})
	before := sessionFields(e.createPlainRoute("shop"))
	home.startGuard("only", account)
	home.eventually("the guard covers a namespace that is not listed", func() bool {
		g, err := standby.Read(t.Context(), core, nil, home.ns)
		return err == nil && g.Covers(e.ns)
	})
	e.plant("shop", record.Live, time.Second)
	e.eventually("the session has ended", func() bool { return sessionFields(e.shop()) == before && e.countSessionObjects() == 0 })
}

// A namespace is removed from the settings while it has a session. No new session may start there.
// The guard, also one that was started later, ends the existing session and then leaves the
// namespace.
func TestANamespaceThatIsSetNoMoreIsLeftWithoutASession(t *testing.T) {
	t.Parallel()
	home, e := newEnv(t), newEnv(t)
	account := home.prepareOwnGuard("namespaces=" + home.ns + " " + e.ns)
	_, err := core.RbacV1().RoleBindings(e.ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "guard"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "osc-debug-guard"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "osc-debug-guard", Namespace: home.ns}},
	}, metav1.CreateOptions{})
	e.ok(err)
	before := e.createShop()
	status := func(what string, holds func(standby.Status) bool) {
		t.Helper()
		home.eventually(what, func() bool {
			s, err := standby.ReadStatus(t.Context(), core, home.ns)
			return err == nil && holds(s)
		})
	}
	one := home.startGuard("one", account)
	status("the guard covers both namespaces", func(s standby.Status) bool { return s.Covers(home.ns) && s.Covers(e.ns) })
	e.plant("shop", record.Live, 40*time.Second)
	home.setSetting("namespaces", home.ns)
	status("the guard is leaving one namespace", func(s standby.Status) bool { return !s.Covers(e.ns) && slices.Contains(s.Leaving, e.ns) })
	one.signal(syscall.SIGKILL)
	home.startGuard("two", account)
	e.waitForEnd(before)
	status("the guard has left the namespace", func(s standby.Status) bool { return s.Covers(home.ns) && len(s.Leaving) == 0 })
}

// metrics returns the metrics of all guard pods in the namespace.
func (e *env) metrics() string {
	e.t.Helper()
	pods, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=osc-debug-guard"})
	e.ok(err)
	var all []string
	for _, p := range pods.Items {
		for _, page := range []string{"healthz", "readyz", "metrics"} {
			data, err := core.CoreV1().RESTClient().Get().Namespace(e.ns).Resource("pods").Name(p.Name + ":8080").SubResource("proxy").Suffix(page).DoRaw(e.t.Context())
			e.ok(err)
			all = append(all, string(data))
		}
	}
	return strings.Join(all, "\n")
}
