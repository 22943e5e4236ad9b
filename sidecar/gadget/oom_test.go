//go:build kernels

package gadget

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	describe "github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// greedy is the program that runs another one, hog, which needs too much memory.
const (
	greedy = "greedy"
	hog    = "hog"
)

func init() {
	programs[greedy], programs[hog] = func() { whenTold(runHog) }, takeMemory
}

// The cgroup of the program that needs too much memory, in the variable cgroupKey, and how much it may use, in bytes.
const (
	cgroupKey = "GADGET_TEST_CGROUP"
	limit     = 32 << 20
)

// runHog runs a program that needs too much memory.
func runHog() {
	group, err := os.Open(os.Getenv(cgroupKey))
	if err != nil {
		os.Exit(1)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), programKey+"="+hog)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	_ = cmd.Run()
}

// takeMemory takes twice as much memory as it may, and is killed for it.
func takeMemory() {
	_, _ = unix.Mmap(-1, 0, 2*limit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
}

// This needs a cgroup hierarchy with the memory controller, so it runs in VMs only.
func TestOOMSeesTheVictim(t *testing.T) {
	group, err := os.MkdirTemp(cgroups(t), "osc-debug-test-")
	ok(t, err)
	t.Cleanup(func() { _ = os.Remove(group) })
	ok(t, os.WriteFile(filepath.Join(group, "memory.max"), []byte(strconv.Itoa(limit)), 0o600))
	_ = os.WriteFile(filepath.Join(group, "memory.swap.max"), []byte("0"), 0o600) // there is none without swap
	_, events, ledger := traceProgram(t, "oom", greedy, cgroupKey+"="+group)
	checkBalanced(t, ledger, len(events))
	if len(events) != 1 {
		t.Fatalf("%d events, wanted 1", len(events))
	}
	e := events[0]
	if o := e.Payload.(*describe.OOM); e.PID == 0 || o.By == 0 || !strings.HasPrefix(e.Comm, "gadget.test") || !strings.HasPrefix(o.Needy, "gadget.test") {
		t.Errorf("event %+v, %+v", e, o)
	}
}

// cgroups returns the folder of a cgroup hierarchy with the memory controller.
func cgroups(t *testing.T) string {
	t.Helper()
	const root = "/sys/fs/cgroup"
	on, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control"))
	ok(t, err)
	if !strings.Contains(string(on), "memory") {
		ok(t, os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0o600))
	}
	return root
}
