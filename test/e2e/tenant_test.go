//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// load is what each of two tenants tries against the guard.
type load struct {
	objects  int  // pods and Services with a session's label, and as large as one annotation may well be
	routes   int  // with a session that cannot be restored, and as long a journal as is read
	sessions int  // of others, which end meanwhile
	restart  bool // the guard dies, and another one starts
}

// Two tenants, one with role osc-debug-user and one with edit, create marked objects and Routes that cannot
// be restored. The sessions of others end as always, and the guard's memory stays small. make soak
// PART=tenant takes ten times as much, and measures how late the others' restores are. The test runs alone: its
// load keeps the API server and the router busy, which other tests would have to wait for.
func TestTwoTenantsCannotStarveTheGuard(t *testing.T) {
	starve(t, load{objects: 500, routes: 100, sessions: 5}, func(e *env, _, late []time.Duration, most int) {
		if most > mostMemory {
			t.Errorf("the guard used %d MiB, may use %d", most, mostMemory)
		}
		summarize(t, "restores %.1f s late at most, guard %d MiB", slices.Max(late).Seconds(), most)
	})
}

// mostMemory is what the guard may use, in MiB.
const mostMemory = 64

// starve ends sessions of one namespace before and while two tenants load the guard. judge gets how late the
// sessions were restored, and the most memory that the guard used.
func starve(t *testing.T, l load, judge func(e *env, without, with []time.Duration, most int)) {
	e := newEnv(t)
	tenants := []*env{newEnv(t), newEnv(t)}
	account := e.prepareOwnGuard("drain=1s", "namespaces="+e.ns+" "+tenants[0].ns+" "+tenants[1].ns)
	for i, tenant := range tenants {
		e.lendGuard(tenant)
		tenant.bind("bob", []string{"osc-debug-user", "edit"}[i])
	}
	e.applyRoles()
	guard := e.startGuard("one", account)
	if !guard.waitUntilLeading(t.Context(), "one") {
		t.Fatal(guard.wait())
	}
	names := 0
	end := func() []time.Duration {
		due := make([]time.Time, l.sessions)
		planted := make([]*record.Journal, l.sessions)
		for n := range due {
			name := fmt.Sprintf("shop-%d", names+n)
			e.createPlainRoute(name)
			planted[n] = e.plant(name, record.Arming, time.Hour)
		}
		for n := range due {
			e.waitForEndpoints(record.ServiceName(planted[n].Session), true)
		}
		for n := range due {
			const left = 10 * time.Second
			due[n] = time.Now().Add(left).Truncate(time.Second)
			e.goLive(fmt.Sprintf("shop-%d", names+n), planted[n], left)
		}
		late := e.waitForRestores(t.Context(), names, due)
		names += l.sessions
		return late
	}
	without := end()
	for _, tenant := range tenants {
		tenant.loadGuard(l)
	}
	with := end()
	most := e.memoryMiB(guard, "VmHWM")
	if l.restart {
		guard.signal(syscall.SIGKILL)
		guard = e.startGuard("two", account)
		if !guard.waitUntilLeading(t.Context(), "two") {
			t.Fatal(guard.wait())
		}
		with = append(with, end()...)
		most = max(most, e.memoryMiB(guard, "VmHWM"))
	}
	e.eventually("no sandbox of others is left", func() bool { return e.countSessionObjects() == 0 })
	judge(e, without, with, most)
}

// applyRoles installs the roles of application teams.
func (e *env) applyRoles() {
	e.t.Helper()
	printed, err := exec.Command(binary, "manifests", "rbac").Output()
	e.ok(err)
	e.kubectl(string(printed), "apply", "-f", "-")
}

// lendGuard lets the guard of e end sessions in another namespace too.
func (e *env) lendGuard(other *env) {
	e.t.Helper()
	role, err := core.RbacV1().Roles(e.ns).Get(e.t.Context(), "osc-debug-guard", metav1.GetOptions{})
	e.ok(err)
	_, err = core.RbacV1().Roles(other.ns).Create(e.t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, Rules: role.Rules}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.RbacV1().RoleBindings(other.ns).Create(e.t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: e.ns, Name: "osc-debug-guard"}}}, metav1.CreateOptions{})
	e.ok(err)
}

// loadGuard makes a tenant's marked objects, and sessions on Routes that no restore can write: they claim
// that the original had a weight that the API server does not accept.
func (e *env) loadGuard(l load) {
	e.t.Helper()
	ctx, note := e.t.Context(), strings.Repeat("x", 48<<10)
	core, routes := e.clientOf("bob").CoreV1(), e.routesOf("bob")
	e.eventually("bob has the rights", func() bool {
		_, err := core.Pods(e.ns).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil
	})
	e.parallelFor(l.routes, func(n int) {
		r := e.createPlainRoute(fmt.Sprintf("stuck-%d", n))
		id, own, too := record.NewID(), int32(0), int32(9999)
		j := record.Journal{
			Version: record.JournalVersion, Session: id, State: record.Live, RouteUID: string(r.UID), User: note[:300], Expires: metav1.NewTime(time.Now()),
			Before: record.Weights{Backends: []record.Weight{{Service: "web", Weight: &too}}, NoList: true},
			Set:    record.Weights{Backends: []record.Weight{{Service: "web", Weight: r.Spec.To.Weight}, {Service: record.ServiceName(id), Weight: &own}}},
		}
		text, err := j.Encode()
		e.ok(err)
		text = "{" + strings.Repeat(" ", record.MaxJournal-len(text)) + text[1:]
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"labels": map[string]string{record.Label: id}, "annotations": map[string]string{record.JournalKey: text, "example.com/note": note}},
			"spec":     map[string]any{"alternateBackends": []map[string]any{{"kind": "Service", "name": record.ServiceName(id), "weight": 0}}},
		})
		e.ok(err)
		_, err = routes.RouteV1().Routes(e.ns).Patch(ctx, r.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		e.ok(err)
	})
	r, shared := e.createPlainRoute("quiet"), record.NewID()
	e.parallelFor(l.objects, func(n int) {
		service, pod := e.sandboxObjects(r, record.NewID())
		for _, o := range []*metav1.ObjectMeta{&service.ObjectMeta, &pod.ObjectMeta} {
			o.Annotations["example.com/note"], o.OwnerReferences = note, nil
		}
		var err error
		if n%2 == 0 {
			service.Spec.ClusterIP = "None"
			_, err = core.Services(e.ns).Create(ctx, service, metav1.CreateOptions{})
		} else {
			pod.Spec.SchedulerName, pod.Spec.NodeName = "nobody", ""
			if n%4 == 1 { // many that share a session ID, whose names say that they are not its pods
				pod.Name, pod.Labels = fmt.Sprintf("junk-%d", n), map[string]string{record.Label: shared}
			}
			_, err = core.Pods(e.ns).Create(ctx, pod, metav1.CreateOptions{})
		}
		e.ok(err)
	})
}
