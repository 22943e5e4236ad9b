//go:build e2e

package e2e

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// outsiders returns pods of people and programs who have nothing to do with sessions, by what they are.
// Each function sends a dry run of creating one.
func (e *env) outsiders() map[string]func() error {
	e.t.Helper()
	yes := true
	for account, names := range map[string][]string{"operator": {"privileged"}, "exporter": {"hostaccess"}, "legacy": {"anyuid"}, "both": {"anyuid", "privileged"}, "cluster-operator": {"osc-debug-kata", "anyuid", "hostaccess", "privileged"}} {
		_, err := core.CoreV1().ServiceAccounts(e.ns).Create(e.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
		e.ok(err)
		e.grantSCCs("system:serviceaccount:"+e.ns+":"+account, names...)
	}
	container := func(change func(*corev1.SecurityContext)) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{}
			change(p.Spec.Containers[0].SecurityContext)
		}
	}
	add := func(c corev1.Capability) func(*corev1.Pod) {
		return container(func(s *corev1.SecurityContext) { s.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{c}} })
	}
	privileged := container(func(s *corev1.SecurityContext) { s.Privileged = &yes })
	root := container(func(s *corev1.SecurityContext) { s.RunAsUser = new(int64) })
	hostPath := addVolume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}})
	out := map[string]func() error{}
	pod := func(name, user, account string, change func(*corev1.Pod)) {
		out[name] = func() error {
			p := e.sandboxPod("outsider")
			asOrdinaryPod(change)(p)
			p.Spec.ServiceAccountName = account
			client := core
			if user != "" {
				client = e.clientOf(user)
			}
			_, err := client.CoreV1().Pods(e.ns).Create(e.t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
	}
	none := func(*corev1.Pod) {}
	pod("an administrator's pod", "", "", none)
	pod("an administrator's privileged pod", "", "", privileged)
	pod("an administrator's pod with SYS_ADMIN", "", "", add("SYS_ADMIN"))
	pod("an administrator's pod with all capabilities", "", "", add("ALL"))
	pod("an administrator's pod as root", "", "", root)
	pod("an administrator's pod with a path of the node", "", "", hostPath)
	pod("an administrator's pod in the node's network", "", "", func(p *corev1.Pod) { p.Spec.HostNetwork = true; p.Spec.Containers[0].Ports = nil })
	pod("an administrator's pod, unconfined", "", "", container(func(s *corev1.SecurityContext) {
		s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	}))
	pod("an administrator's pod in a VM", "", "", func(p *corev1.Pod) { kata := "kata"; p.Spec.RuntimeClassName = &kata; privileged(p) })
	pod("an administrator's privileged pod with an annotation", "", "", func(p *corev1.Pod) { p.Annotations = map[string]string{"example.com/x": "y"}; privileged(p) })
	// The operator creates its pods itself, or has them created by someone without permission.
	for _, user := range []string{"", "bob"} {
		by := " of an administrator"
		if user != "" {
			by = " of a user"
		}
		pod("an operator's privileged pod"+by, user, "operator", privileged)
		pod("an operator's pod with NET_ADMIN"+by, user, "operator", add("NET_ADMIN"))
		pod("an operator's pod with a path of the node"+by, user, "operator", hostPath)
		pod("an exporter's pod with a path of the node"+by, user, "exporter", hostPath)
		pod("an exporter's pod in the node's processes"+by, user, "exporter", func(p *corev1.Pod) { p.Spec.HostPID = true; p.Spec.ShareProcessNamespace = nil })
		pod("a legacy pod as root"+by, user, "legacy", root)
		pod("a legacy pod that keeps setuid"+by, user, "legacy", container(func(s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = &yes }))
		pod("a privileged pod of a cluster operator"+by, user, "cluster-operator", privileged)
		pod("a cluster operator's pod with SYS_PTRACE"+by, user, "cluster-operator", add("SYS_PTRACE"))
		pod("a privileged pod of an account with both"+by, user, "both", privileged)
	}
	return out
}
