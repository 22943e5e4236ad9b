package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/osc-debug/osc-debug/test/devcluster/build"
	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// Spec describes a cluster: its folders, programs and options.
type Spec struct {
	Dirs           topology.Dirs
	Kube, Runtime  string // folders of built programs
	Guest          build.Guest
	Accel          string // QEMU's accelerator: tcg or kvm
	ReloadInterval string // minimum time between reloads of the router, as a Go duration
}

// component is a long-running process of the cluster.
type component struct {
	name string
	args []string
	env  []string
	nice int // how much less of the CPU it may have than others, as for nice(1)
}

// components returns the cluster's components in the order in which they are started.
func (spec Spec) components() []component {
	d := spec.Dirs
	pki := func(name string) string { return d.In("pki", name) }
	conf := d.In("components.conf")
	self := func(args ...string) []string { return append([]string{"/proc/self/exe"}, args...) }
	return []component{
		{name: "etcd", args: []string{
			"etcd", "--data-dir=/run/etcd", "--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync",
		}},
		// Beside the many processes of tests, an emulated CPU would get too little: pods would take minutes to start.
		{name: "qemu", args: spec.qemu(), nice: -10},
		{name: "containerd", args: []string{filepath.Join(spec.Runtime, "containerd"), "-c", d.In("containerd.toml")},
			env: []string{"PATH=" + spec.Runtime + ":/usr/sbin:/usr/bin:/sbin:/bin"}},
		{name: "registry", args: self("registry")},
		{name: "kube-apiserver", args: []string{
			filepath.Join(spec.Kube, "kube-apiserver"),
			"--etcd-servers=http://127.0.0.1:2379", "--secure-port=" + topology.APIPort, "--bind-address=0.0.0.0",
			"--advertise-address=" + topology.GatewayIP, "--service-cluster-ip-range=" + topology.ServiceCIDR,
			"--tls-cert-file=" + pki("server.crt"), "--tls-private-key-file=" + pki("server.key"), "--client-ca-file=" + pki("ca.crt"),
			"--token-auth-file=" + pki("tokens.csv"),
			"--service-account-key-file=" + pki("sa.pub"), "--service-account-signing-key-file=" + pki("sa.key"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--authorization-mode=Node,RBAC", "--allow-privileged=true",
			// OwnerReferencesPermissionEnforcement is on by default on OpenShift.
			"--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
			"--kubelet-client-certificate=" + pki("admin.crt"), "--kubelet-client-key=" + pki("admin.key"),
			"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		}},
		{name: "kube-controller-manager", args: []string{
			filepath.Join(spec.Kube, "kube-controller-manager"), "--kubeconfig=" + conf, "--bind-address=127.0.0.1",
			"--service-account-private-key-file=" + pki("sa.key"), "--root-ca-file=" + pki("ca.crt"),
			"--use-service-account-credentials", "--leader-elect=false",
			"--node-monitor-period=2s", "--node-monitor-grace-period=40s",
			// With the default of 20 requests per second, tests would wait for idle controllers.
			"--kube-api-qps=300", "--kube-api-burst=600",
		}},
		{name: "kube-scheduler", args: []string{
			filepath.Join(spec.Kube, "kube-scheduler"), "--kubeconfig=" + conf, "--bind-address=127.0.0.1", "--leader-elect=false",
			"--kube-api-qps=300", "--kube-api-burst=600",
		}},
		{name: "kube-proxy", args: []string{filepath.Join(spec.Kube, "kube-proxy"), "--config=" + d.In("proxy.yaml")}},
		{name: "kubelet", args: []string{
			filepath.Join(spec.Kube, "kubelet"), "--config=" + d.In("kubelet.yaml"), "--kubeconfig=" + d.In("runc-node.conf"),
			"--hostname-override=" + topology.RuncNode, "--node-ip=" + topology.GatewayIP,
		}},
		{name: "router", args: self("router", "--kubeconfig", conf, "--dir", d.In("router"), "--address", topology.ClusterIP,
			"--certificate", pki("router.crt"), "--key", pki("router.key"), "--reload-interval", spec.ReloadInterval)},
	}
}

// qemu returns the command line of QEMU for the guest.
//
// The emulated CPU has no AVX and SHA instructions, because emulating them costs more than the plain
// code that programs then use (a pod in the guest answered 560 requests/s with it, 390 with "max").
// An emulated guest also needs no mitigations.
//
// The guest has one CPU: with two emulated CPUs, QEMU 7.2 locks up when the kernel patches code that
// the other CPU runs, which happens when gadgets are attached and detached. (30 rounds under load
// were enough; with one CPU 150 rounds passed, at the same throughput.)
func (spec Spec) qemu() []string {
	accel, cpu := "tcg,thread=multi", "Nehalem"
	if spec.Accel == "kvm" {
		accel, cpu = "kvm", "host"
	}
	return []string{
		"qemu-system-x86_64", "-accel", accel, "-cpu", cpu, "-m", "3072", "-smp", "1", "-nographic", "-no-reboot",
		"-kernel", spec.Guest.Kernel, "-initrd", spec.Dirs.In("initramfs.gz"), "-append", "console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0 audit=0 nowatchdog",
		// snapshot=on: the guest's writes go to a temporary file that is removed with the process.
		"-drive", "file=" + spec.Guest.Disk + ",if=virtio,format=raw,cache=unsafe,snapshot=on",
		"-netdev", "tap,id=n,ifname=" + topology.Tap + ",script=no,downscript=no", "-device", "virtio-net-pci,netdev=n",
		"-device", "virtio-rng-pci",
	}
}

// superviseArgs returns the arguments with which devcluster runs the supervisor.
func (spec Spec) superviseArgs() []string {
	return []string{
		"supervise", "--kube", spec.Kube, "--runtime", spec.Runtime, "--guest-kernel", spec.Guest.Kernel,
		"--guest-disk", spec.Guest.Disk, "--accel", spec.Accel, "--reload-interval", spec.ReloadInterval,
	}
}

// configure writes the certificates and the configuration of both nodes, and the guest's initramfs.
func (spec Spec) configure() error {
	d := spec.Dirs
	if err := os.Symlink(filepath.Join(spec.Kube, "kubectl"), d.In("kubectl")); err != nil {
		return err
	}
	keys, err := newPKI(d.In("pki"))
	if err != nil {
		return err
	}
	if err := keys.kubeconfigs(d); err != nil {
		return err
	}
	runc := node{
		name: topology.RuncNode, certs: d.In("pki"), cniBin: spec.Runtime, cniConf: d.In("cni"), hosts: d.In("certs.d"),
		cgroup: "/" + topology.CgroupRoot, podCIDR: topology.PodCIDR, podStart: topology.PodStart, cniBridge: topology.Bridge,
	}
	kata := node{
		name: topology.KataNode, certs: "/etc/osc/pki", cniBin: "/opt/cni/bin", cniConf: "/etc/osc/cni", hosts: "/etc/osc/certs.d",
		cgroup: "/", podCIDR: topology.GuestPods, podStart: "10.89.0.2", cniBridge: "cni0",
		evicts: true,
	}
	err = writeAll(map[string]string{
		d.In("containerd.toml"):                   runc.containerdTOML(),
		d.In("kubelet.yaml"):                      runc.kubeletYAML(),
		d.In("cni/10-osc.conflist"):               runc.cniConfig(),
		d.In("certs.d/_default/hosts.toml"):       registryTOML(),
		d.In("proxy.yaml"):                        fmt.Sprintf(proxyYAML, d.In("components.conf"), topology.RuncNode, topology.AllPods),
		d.In("guest/containerd.toml"):             kata.containerdTOML(),
		d.In("guest/kubelet.yaml"):                kata.kubeletYAML(),
		d.In("guest/cni/10-osc.conflist"):         kata.cniConfig(),
		d.In("guest/certs.d/_default/hosts.toml"): registryTOML(),
		d.In("guest/env"):                         fmt.Sprintf("export GUEST=%s GATEWAY=%s NODE=%s\n", topology.GuestIP, topology.GatewayIP, topology.KataNode),
	})
	if err != nil {
		return err
	}
	return spec.initramfs(map[string]string{
		d.In("kata-node.conf"):                "kubelet.conf",
		d.In("pki/ca.crt"):                    "pki/ca.crt",
		d.In("pki", topology.KataNode+".crt"): "pki/" + topology.KataNode + ".crt",
		d.In("pki", topology.KataNode+".key"): "pki/" + topology.KataNode + ".key",
	})
}
