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

// ownGuards prepares a namespace for guards of its own, which run as processes beside the
// test: what a team's administrator applies, the Deployment aside. It returns a kubeconfig
// with the token of their ServiceAccount.
func (e *env) ownGuards(settings ...string) string {
	e.t.Helper()
	printed, err := teamsGuard()
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
		case *appsv1.Deployment, *policyv1.PodDisruptionBudget: // its processes run beside the test
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
			err = fmt.Errorf("a team's guard has a %T, which this test does not apply", o)
		}
		e.ok(err)
	}
	return e.accountOf("osc-debug-guard")
}

// anyNamespace stands for the namespace in what teamsGuard returns.
const anyNamespace = "any-namespace-of-a-test"

// teamsGuard is what 'osc-debug manifests guard-team' prints. It is asked once: hundreds of tests
// have guards of their own.
var teamsGuard = sync.OnceValues(func() (string, error) {
	printed, err := exec.Command(binary, "manifests", "guard-team", "-n", anyNamespace).Output()
	return string(printed), err
})

const settingsName = settings.ConfigName

// accountOf is a kubeconfig with a token of a ServiceAccount of the namespace.
func (e *env) accountOf(account string) string {
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

// as is a kubeconfig of any user.
func (e *env) as(user string) string {
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

// kubectl runs it as the administrator, with standard input.
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

// kubectlAs is kubectl as a user.
func kubectlAs(user string, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(state, "kubectl"), append([]string{"--kubeconfig", kubeconfig(user)}, args...)...)
}

// guard starts a replica, with a kubeconfig of ownGuards or a proxied one.
func (e *env) guard(name, config string, args ...string) *running {
	e.t.Helper()
	return e.process(exec.Command(filepath.Join(filepath.Dir(binary), "osc-guard"),
		append([]string{"--home", e.ns, "--kubeconfig", config, "--name", name, "--listen", "127.0.0.1:0"}, args...)...))
}

// standsBy says whether a guard of the namespace's own covers it.
func (e *env) standsBy() bool {
	g, err := standby.Read(e.t.Context(), core, e.ns)
	return err == nil && g.Covers(e.ns)
}

// leads waits until a replica holds the Lease; false when it ended before.
func (r *running) leads(ctx context.Context, name string) bool {
	ended, leads := false, false
	await(r.e.t, r.e.ns, hang, unwatched, name+" leads", func() bool {
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
		r.e.t.Errorf("%s does not lead within %s:\n%s", name, hang, r.progress.String())
	}
	return leads
}

// A team without a cluster administrator has a guard in its own namespace: who has role
// admin there installs it, shift finds it, it ends the session.
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
	// Applied again, as an update is, it leaves what was set.
	e.setting("maxDuration", "1h")
	apply = kubectlAs("bob", "apply", "-f", "-")
	apply.Stdin = bytes.NewReader(printed)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s, err := settings.Read(t.Context(), core, e.ns); err != nil || s.MaxDuration != time.Hour {
		t.Errorf("applied again: %+v, %v", s, err)
	}
	e.setting("maxDuration", "3h50m")
	before := e.standard()
	e.eventually("the guard stands by", e.standsBy)
	e.detached("--weight", "100", "--ttl", "10s")
	e.ended(before)
	metrics := e.metrics()
	for _, want := range []string{`osc_debug_guard_restores_total{reason="Expired"} 1`, "osc_debug_guard_leader 1", "osc_debug_guard_leader 0", "osc_debug_guard_restore_seconds_count 1", `osc_debug_guard_sessions{state="live"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the two replicas' metrics have no %s", want)
		}
	}
	if n := strings.Count(metrics, "\nosc_debug_guard_failures_total 0\n"); n != 2 {
		t.Errorf("%d of the two replicas had no failure", n)
	}
}

// A Lease may look fresh whose holder just died: no user is moved before it is renewed.
func TestADeadGuardsFreshLeaseIsNotEnough(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	before := e.standard()
	g := e.guard("only", e.ownGuards())
	e.eventually("the guard stands by", e.standsBy)
	g.signal(syscall.SIGKILL)
	g.wait()
	if r := e.guarded("--weight", "100", "--detach", "--drain", "1s").wait(); r.code != 1 || !r.because(reason.GuardStoppedRenewing) {
		t.Errorf("wanted a refusal for the guard's sake: %s", r)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()
}

// A namespace in which the guard loses its rights is no longer called covered, and is
// again when they are back: by the last settings that could be used.
func TestLostRightsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*env){
		"settings that can't be used": func(e *env) { e.setting("grace", "soon") },
		"settings that are gone": func(e *env) {
			e.ok(core.CoreV1().ConfigMaps(e.ns).Delete(e.t.Context(), settings.ConfigName, metav1.DeleteOptions{}))
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); lostRights(t, spoil) })
	}
}

func lostRights(t *testing.T, spoil func(*env)) {
	e := newEnv(t)
	account := e.ownGuards()
	e.deployment("web", 1, nil)
	e.route(nil)
	if g := e.guard("one", account, "--relist", "2s"); !g.leads(t.Context(), "one") {
		t.Fatal(g.wait())
	}
	covered := func(want bool) {
		t.Helper()
		e.eventually(fmt.Sprintf("covered: %v", want), func() bool {
			g, err := standby.Read(t.Context(), core, e.ns)
			return err == nil && g.Covers(e.ns) == want
		})
	}
	covered(true)
	spoil(e)
	binding, err := core.RbacV1().RoleBindings(e.ns).Get(t.Context(), "osc-debug-guard", metav1.GetOptions{})
	e.ok(err)
	e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), binding.Name, metav1.DeleteOptions{}))
	covered(false)
	if r := e.guarded("--weight", "50", "--detach").wait(); r.code == 0 || !r.because(reason.GuardNotRunning) || !r.names("oc create rolebinding osc-debug-guard -n "+e.ns) {
		t.Errorf("begun where the guard could not end it: %s", r)
	}
	binding.ResourceVersion, binding.UID = "", ""
	_, err = core.RbacV1().RoleBindings(e.ns).Create(t.Context(), binding, metav1.CreateOptions{})
	e.ok(err)
	covered(true)
}

// A guard of the whole cluster, which is opt-in, ends sessions of a namespace that nobody named.
// Not beside other tests, whose sessions are in the cluster too.
func TestAGuardOfAllNamespaces(t *testing.T) {
	home, e := newEnv(t), newEnv(t)
	printed, err := exec.Command(binary, "manifests", "guard-all-namespaces").Output()
	e.ok(err)
	if out := e.kubectl(string(printed), "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "yaml", "-f", "-"); !strings.Contains(out, "namespaces: '*'") || !strings.Contains(out, "kind: ClusterRoleBinding") {
		t.Errorf("the overlay: %s", out)
	}
	account := home.ownGuards("namespaces=" + settings.AllNamespaces)
	binding, err := core.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: home.ns}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "osc-debug-guard"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "osc-debug-guard", Namespace: home.ns}},
	}, metav1.CreateOptions{})
	e.ok(err)
	t.Cleanup(func() {
		_ = core.RbacV1().ClusterRoleBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
	})
	before := looks(e.plainRoute("shop"))
	home.guard("only", account)
	home.eventually("the guard covers a namespace that nobody named", func() bool {
		g, err := standby.Read(t.Context(), core, home.ns)
		return err == nil && g.Covers(e.ns)
	})
	e.plant("shop", record.Live, time.Second)
	e.eventually("the session is over", func() bool { return looks(e.shop()) == before && e.sandboxes() == 0 })
}

// A namespace that is taken off the settings while a session lives there: no new one may
// begin, the one that is there is ended, also by a guard that was not there before, and then
// the namespace is let go.
func TestANamespaceThatIsSetNoMoreIsLeftWithoutASession(t *testing.T) {
	t.Parallel()
	home, e := newEnv(t), newEnv(t)
	account := home.ownGuards("namespaces=" + home.ns + " " + e.ns)
	_, err := core.RbacV1().RoleBindings(e.ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "guard"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "osc-debug-guard"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "osc-debug-guard", Namespace: home.ns}},
	}, metav1.CreateOptions{})
	e.ok(err)
	before := e.standard()
	status := func(what string, holds func(standby.Status) bool) {
		t.Helper()
		home.eventually(what, func() bool {
			s, err := standby.ReadStatus(t.Context(), core, home.ns)
			return err == nil && holds(s)
		})
	}
	one := home.guard("one", account)
	status("both are covered", func(s standby.Status) bool { return s.Covers(home.ns) && s.Covers(e.ns) })
	e.plant("shop", record.Live, 40*time.Second)
	home.setting("namespaces", home.ns)
	status("one is being left", func(s standby.Status) bool { return !s.Covers(e.ns) && slices.Contains(s.Leaving, e.ns) })
	one.signal(syscall.SIGKILL)
	home.guard("two", account)
	e.ended(before)
	status("it is let go", func(s standby.Status) bool { return s.Covers(home.ns) && len(s.Leaving) == 0 })
}

// metrics are those of the namespace's guards, all together.
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
