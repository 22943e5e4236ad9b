package standby_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/settings"
	"github.com/osc-debug/osc-debug/test/canned"
)

const (
	version = 3 // of the journals that are written
	lease   = 15 * time.Second
)

var now = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// objects are what an API server has.
type objects canned.Answers

func leasePath(home string) string {
	return "GET /apis/coordination.k8s.io/v1/namespaces/" + home + "/leases/" + settings.LeaseName
}

func statusPath(home string) string {
	return "GET /api/v1/namespaces/" + home + "/configmaps/" + settings.StatusName
}

func leaseOf(home, holder string, renewed time.Time) *coordinationv1.Lease {
	seconds, at := int32(lease.Seconds()), metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{
		TypeMeta:   metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: settings.LeaseName},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &at},
	}
}

func configMap(home string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: settings.StatusName},
		Data:       data,
	}
}

// withGuard adds a guard that renewed its Lease some time ago.
func (o objects) withGuard(home string, ago time.Duration, s standby.Status) objects {
	o[leasePath(home)] = leaseOf(home, "guard-of-"+home, now.Add(-ago))
	o[statusPath(home)] = configMap(home, s.Data())
	return o.withHome(map[string]string{settings.TrustLabel: settings.Trusted}, nil)
}

// withHome adds namespace settings.Home.
func (o objects) withHome(labels, annotations map[string]string) objects {
	o["GET /api/v1/namespaces/"+settings.Home] = &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: settings.Home, Labels: labels, Annotations: annotations},
	}
	return o
}

func apiServer(t *testing.T, o objects) kubernetes.Interface {
	t.Helper()
	core, err := kubernetes.NewForConfig(canned.Answers(o).Serve(t))
	if err != nil {
		t.Fatal(err)
	}
	return core
}

// covering is the status of a guard that can end sessions in some namespaces.
func covering(namespaces ...string) standby.Status {
	return standby.Status{Journal: version, Namespaces: namespaces}
}

// A guard can end the sessions of a namespace if it runs, covers the namespace, and reads the journals.
func TestWhoseSessionsAGuardCanEnd(t *testing.T) {
	old, newer := covering("shop"), covering("shop")
	old.Journal, newer.Journal = version-1, version+1
	for _, c := range []struct {
		name             string
		age              time.Duration // of the Lease
		status           standby.Status
		running, covered reason.Code
	}{
		{"its own namespace", 0, covering("team", "shop"), "", ""},
		{"all namespaces", 0, covering(settings.AllNamespaces), "", ""},
		{"as its Lease ends", lease, covering("shop"), "", ""},
		{"after its Lease", lease + time.Second, covering("shop"), reason.GuardLeaseStale, ""},
		{"by a clock that is ahead", -time.Second, covering("shop"), "", ""},
		{"other namespaces", 0, covering("team", "shop-test"), "", reason.GuardDoesNotCover},
		{"no namespace", 0, covering(), "", reason.GuardDoesNotCover},
		{"a namespace that it is leaving", 0, standby.Status{Journal: version, Leaving: []string{"shop"}}, "", reason.GuardDoesNotCover},
		{"newer journals than it reads", 0, old, "", reason.GuardTooOld},
		{"older journals than it reads", 0, newer, "", ""},
		{"other namespaces, after its Lease", lease + time.Second, covering("team"), reason.GuardLeaseStale, reason.GuardDoesNotCover},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &standby.Guard{Status: c.status, Home: "osc-debug", Holder: "guard-0", Renewed: now.Add(-c.age), Lease: lease}
			if err := g.CheckRunning(now); reason.CodeOf(err) != c.running || (err == nil) != (c.running == "") {
				t.Errorf("running: %v, want %q", err, c.running)
			}
			if err := g.CheckCovers("shop", version); reason.CodeOf(err) != c.covered || (err == nil) != (c.covered == "") {
				t.Errorf("covers: %v, want %q", err, c.covered)
			}
			want := c.running
			if want == "" {
				want = c.covered
			}
			if err := g.CheckCanEnd("shop", version, now); reason.CodeOf(err) != want || (err == nil) != (want == "") {
				t.Errorf("can end: %v, want %q", err, want)
			}
		})
	}
}

// A status is read from its ConfigMap as the guard published it.
func TestAStatusIsReadAsItWasPublished(t *testing.T) {
	for name, want := range map[string]standby.Status{
		"everything":     {Journal: 2, Shape: 3, Namespaces: []string{"shop", "team"}, Leaving: []string{"old", "older"}, Nodes: true},
		"all namespaces": {Journal: 1, Namespaces: []string{settings.AllNamespaces}},
		"no namespace":   {Journal: 1},
	} {
		t.Run(name, func(t *testing.T) {
			core := apiServer(t, objects{statusPath("home"): configMap("home", want.Data())})
			got, err := standby.ReadStatus(t.Context(), core, "home")
			if err != nil {
				t.Fatal(err)
			}
			if got.Journal != want.Journal || got.Shape != want.Shape || got.Nodes != want.Nodes || !slices.Equal(got.Namespaces, want.Namespaces) || !slices.Equal(got.Leaving, want.Leaving) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// A guard from before there were shapes publishes none. It knows shape 1.
func TestAStatusWithoutAShapeIsOfShape1(t *testing.T) {
	data := covering("shop").Data()
	delete(data, "shape")
	got, err := standby.ReadStatus(t.Context(), apiServer(t, objects{statusPath("home"): configMap("home", data)}), "home")
	if err != nil || got.Shape != 1 {
		t.Errorf("shape %d, error %v", got.Shape, err)
	}
}

// A ConfigMap without data is that of a guard that has not run yet, and covers nothing. Other
// ConfigMaps must say which journals the guard reads.
func TestStatusesThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer any // nil: there is no ConfigMap
		want   reason.Code
		failed bool
	}{
		{"no data", configMap("home", nil), "", false},
		{"no journal version", configMap("home", map[string]string{"namespaces": "*"}), reason.GuardStatusInvalid, true},
		{"journal version is no number", configMap("home", map[string]string{"journal": "two", "namespaces": "*"}), reason.GuardStatusInvalid, true},
		{"shape is no number", configMap("home", map[string]string{"journal": "1", "shape": "two", "namespaces": "*"}), reason.GuardStatusInvalid, true},
		{"no ConfigMap", nil, reason.GuardStatusMissing, true},
		{"not to be read", http.StatusForbidden, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := objects{}
			if c.answer != nil {
				o[statusPath("home")] = c.answer
			}
			s, err := standby.ReadStatus(t.Context(), apiServer(t, o), "home")
			if reason.CodeOf(err) != c.want || (err != nil) != c.failed {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s.Covers("shop") || s.Journal != 0 || s.Nodes {
				t.Errorf("status %+v, want none", s)
			}
		})
	}
}

// A guard is read from a Lease that a replica holds, and from its status.
func TestAGuardIsReadFromItsLeaseAndStatus(t *testing.T) {
	noHolder, empty, noTime, noDuration := leaseOf("home", "", now), leaseOf("home", "guard-0", now), leaseOf("home", "guard-0", now), leaseOf("home", "guard-0", now)
	empty.Spec.HolderIdentity, noTime.Spec.RenewTime, noDuration.Spec.LeaseDurationSeconds = nil, nil, nil
	status := configMap("home", covering("shop").Data())
	for _, c := range []struct {
		name          string
		lease, status any
		want          reason.Code
	}{
		{"held", leaseOf("home", "guard-0", now), status, ""},
		{"no Lease", nil, status, reason.GuardNotFound},
		{"no holder", noHolder, status, reason.GuardLeaseNotHeld},
		{"holder not set", empty, status, reason.GuardLeaseNotHeld},
		{"never renewed", noTime, status, reason.GuardLeaseNotHeld},
		{"no duration", noDuration, status, reason.GuardLeaseNotHeld},
		{"no status", leaseOf("home", "guard-0", now), nil, reason.GuardStatusMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := objects{}
			if c.lease != nil {
				o[leasePath("home")] = c.lease
			}
			if c.status != nil {
				o[statusPath("home")] = c.status
			}
			g, err := standby.Read(t.Context(), apiServer(t, o), nil, "home")
			if reason.CodeOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if c.want != "" {
				return
			}
			if g.Home != "home" || g.Holder != "guard-0" || !g.Renewed.Equal(now) || g.Lease != lease || g.Journal != version || !g.Covers("shop") {
				t.Errorf("guard %+v", g)
			}
		})
	}
}

// The cluster's guard is used if it can end the sessions of the namespace, else the namespace's own.
// If neither can, the error is that of the namespace's own guard, if it has one.
func TestWhichGuardIsUsed(t *testing.T) {
	const stale = lease + time.Second
	forbidden := objects{}.withGuard(settings.Home, 0, covering("team"))
	forbidden[leasePath("shop")] = http.StatusForbidden
	unsaid := objects{}.withGuard(settings.Home, 0, covering("team")).withGuard("shop", 0, covering("shop"))
	delete(unsaid, statusPath("shop"))
	someone := map[string]string{"openshift.io/requester": "mallory"}
	squatted := objects{}.withGuard(settings.Home, 0, covering("*")).withHome(nil, someone)
	requested := objects{}.withGuard(settings.Home, 0, covering("*")).withHome(map[string]string{settings.TrustLabel: settings.Trusted}, someone)
	beside := objects{}.withGuard(settings.Home, 0, covering("*")).withGuard("shop", 0, covering("shop")).withHome(nil, someone)
	for _, c := range []struct {
		name    string
		objects objects
		want    string // home of the guard, "" for none
		code    reason.Code
	}{
		{"no guard", objects{}, "", reason.GuardNotFound},
		{"the cluster's", objects{}.withGuard(settings.Home, 0, covering("shop")), settings.Home, ""},
		{"the namespace's own", objects{}.withGuard("shop", 0, covering("shop")), "shop", ""},
		{"both", objects{}.withGuard(settings.Home, 0, covering("*")).withGuard("shop", 0, covering("shop")), settings.Home, ""},
		{"the cluster's is stale", objects{}.withGuard(settings.Home, stale, covering("*")).withGuard("shop", 0, covering("shop")), "shop", ""},
		{"the cluster's covers others", objects{}.withGuard(settings.Home, 0, covering("team")).withGuard("shop", 0, covering("shop")), "shop", ""},
		{"the cluster's covers others, and there is no other", objects{}.withGuard(settings.Home, 0, covering("team")), "", reason.GuardDoesNotCover},
		{"the cluster's covers others, and the other is hidden", forbidden, "", reason.GuardDoesNotCover},
		{"the namespace's own is stale", objects{}.withGuard(settings.Home, 0, covering("team")).withGuard("shop", stale, covering("shop")), "", reason.GuardLeaseStale},
		{"the namespace's own wrote no status", unsaid, "", reason.GuardStatusMissing},
		{"the cluster's home was requested by someone", squatted, "", reason.HomeNotTrusted},
		{"the same, later installed by an administrator", requested, "", reason.HomeNotTrusted},
		{"the same, beside the namespace's own", beside, "shop", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := standby.Find(t.Context(), apiServer(t, c.objects), nil, "shop", version, func() time.Time { return now })
			if reason.CodeOf(err) != c.code || (err == nil) != (c.code == "") {
				t.Fatalf("got %v, want %q", err, c.code)
			}
			if c.want != "" && (g == nil || g.Home != c.want) {
				t.Errorf("guard %+v, want the one in %s", g, c.want)
			}
		})
	}
}

// A guard renews its Lease if a replica holds the Lease, and its time is another than when it was read.
func TestWhetherAGuardRenewsItsLease(t *testing.T) {
	g := &standby.Guard{Home: "home", Renewed: now, Lease: lease}
	for _, c := range []struct {
		name  string
		lease *coordinationv1.Lease
		want  bool
		code  reason.Code
	}{
		{"as it was read", leaseOf("home", "guard-0", now), false, ""},
		{"renewed", leaseOf("home", "guard-0", now.Add(2*time.Second)), true, ""},
		{"taken over", leaseOf("home", "guard-1", now.Add(2*time.Second)), true, ""},
		{"given up", leaseOf("home", "", now.Add(2*time.Second)), false, reason.GuardLeaseNotHeld},
	} {
		got, err := g.Renews(t.Context(), apiServer(t, objects{leasePath("home"): c.lease}))
		if got != c.want || reason.CodeOf(err) != c.code || (err == nil) != (c.code == "") {
			t.Errorf("%s: %v, %v; want %v, %q", c.name, got, err, c.want, c.code)
		}
	}
}
