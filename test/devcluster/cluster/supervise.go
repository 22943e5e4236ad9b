package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// Supervise is process 1 of the cluster's own namespaces. It sets up mounts and the network, starts
// the components, reaps orphaned processes, and restarts components that have died. It does not
// return while the cluster runs. Killing it ends all processes, mounts and network links of the
// cluster, because the kernel ends the namespaces with their process 1. The process that starts it
// keeps its standard input open and writes "go" when the veth pair exists; if that process ends
// first, Supervise returns an error.
func Supervise(spec Spec) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("supervise must be process 1 of a new PID namespace; use 'devcluster up'")
	}
	if line, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil || line != "go\n" {
		return fmt.Errorf("the process that started the supervisor has ended")
	}
	if err := spec.mounts(); err != nil {
		return err
	}
	if err := spec.network(); err != nil {
		return err
	}
	s := &supervisor{spec: spec, running: map[int]component{}}
	for _, c := range spec.components() {
		if err := s.start(c); err != nil {
			return err
		}
	}
	go s.followStopFiles()
	return s.reap()
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// mounts gives the cluster the /proc of its PID namespace and its own /run and /var, so that the
// fixed paths of containerd, kubelet and the CNI plugins do not touch the machine's files.
func (spec Spec) mounts() error {
	d := spec.Dirs
	for _, dir := range []string{"var/lib/containerd", "var/lib/kubelet", "var/lib/cni", "var/log", "var/tmp", "log"} {
		if err := os.MkdirAll(d.In(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", d.In("var/run")); err != nil && !os.IsExist(err) {
		return err
	}
	// First separate the mounts from the machine's, then share them again within the cluster, because
	// the kubelet needs its mounts to propagate to containers.
	if err := mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("none", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := mount(d.In("var"), "/var", "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	return mount("none", "/var", "", syscall.MS_SHARED, "")
}

// network configures the network inside the cluster's namespace.
func (spec Spec) network() error {
	for path, value := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward":                 "1",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
	} {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return err
		}
	}
	for _, args := range []string{
		"link set lo up",
		"addr add " + topology.ClusterIP + topology.LinkBits + " dev " + topology.ClusterLink,
		"link set " + topology.ClusterLink + " up",
		"link add " + topology.Bridge + " type bridge",
		"addr add " + topology.GatewayIP + "/16 dev " + topology.Bridge,
		"link set " + topology.Bridge + " up",
		"tuntap add " + topology.Tap + " mode tap",
		"link set " + topology.Tap + " master " + topology.Bridge + " up",
		"route add " + topology.GuestPods + " via " + topology.GuestIP,
		"route add default via " + topology.HostIP,
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return nil
}

type supervisor struct {
	spec Spec

	mu      sync.Mutex
	running map[int]component // by PID
	stopped []component       // from Stop until Start
}

// followStopFiles kills components that Stop has stopped, and starts them again after Start. It runs
// as long as the cluster.
func (s *supervisor) followStopFiles() {
	for range time.Tick(100 * time.Millisecond) {
		s.mu.Lock()
		for pid, c := range s.running {
			if s.spec.isStopped(c.name) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		again := []component{}
		s.stopped = slices.DeleteFunc(s.stopped, func(c component) bool {
			if s.spec.isStopped(c.name) {
				return false
			}
			again = append(again, c)
			return true
		})
		s.mu.Unlock()
		for _, c := range again {
			if err := s.start(c); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}

func (s *supervisor) start(c component) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.OpenFile(s.spec.Dirs.Log(c.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	path, err := exec.LookPath(c.args[0])
	if err != nil {
		return err
	}
	argv := append([]string{filepath.Base(c.args[0])}, c.args[1:]...)
	// GOGC: the machine has more memory than CPU to spare.
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Env: append(append(os.Environ(), "GOGC=300"), c.env...), Files: []*os.File{null, log, log},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	s.running[p.Pid] = c
	if c.nice != 0 {
		return setNice(p.Pid, c.nice)
	}
	return nil
}

// setNice sets how nice a process is that was started a moment ago: its threads, and its session, because kernels with
// automatic groups share the CPU among sessions first.
func setNice(pid, nice int) error {
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, pid, nice); err != nil {
		return fmt.Errorf("set the priority of process %d: %w", pid, err)
	}
	err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(nice)), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without them
	}
	return err
}

// reap waits for child processes, adopted ones included, and restarts components that have died. It
// returns only on an error.
func (s *supervisor) reap() error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		s.mu.Lock()
		c, ok := s.running[pid]
		delete(s.running, pid)
		held := ok && s.spec.isStopped(c.name)
		if held {
			s.stopped = append(s.stopped, c)
		}
		s.mu.Unlock()
		if !ok || held {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s %s ended (%v), restarting it\n", time.Now().Format(time.RFC3339), c.name, status)
		time.Sleep(300 * time.Millisecond)
		if err := s.start(c); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// spawn starts a supervisor in new namespaces and connects it with the veth pair. The supervisor's
// identity is on disk before the supervisor does anything.
func (spec Spec) spawn(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(spec.Dirs.Log("supervise"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(exe, spec.superviseArgs()...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "PATH="+spec.Kube+":"+spec.Runtime+":/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Setsid:     true,
	}
	gate, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	if err := writeIdentity(spec.Dirs, cmd.Process.Pid); err != nil {
		return err
	}
	for _, args := range []string{
		fmt.Sprintf("link add %s type veth peer name %s netns %d", topology.HostLink, topology.ClusterLink, cmd.Process.Pid),
		"addr add " + topology.HostIP + topology.LinkBits + " dev " + topology.HostLink,
		// Addresses for the servers of the tests' fake pods.
		"addr add 10.87.0.11/32 dev " + topology.HostLink,
		"addr add 10.87.0.12/32 dev " + topology.HostLink,
		"addr add 10.87.0.13/32 dev " + topology.HostLink,
		"link set " + topology.HostLink + " up",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	if _, err := gate.Write([]byte("go\n")); err != nil {
		return err
	}
	return cmd.Process.Release()
}
