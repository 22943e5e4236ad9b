package cluster

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/osc-debug/osc-debug/test/devcluster/build"
)

// Accelerator returns the accelerator with which QEMU runs the guest: "kvm" if a guest really boots
// with it (on some machines /dev/kvm can be opened but guests hang), otherwise "tcg". The result is
// kept until the machine restarts.
func Accelerator(ctx context.Context, cache string, guest build.Guest) string {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "tcg"
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "tcg"
	}
	file := filepath.Join(cache, "accelerator")
	if known, err := os.ReadFile(file); err == nil {
		if id, accel, ok := strings.Cut(strings.TrimSpace(string(known)), " "); ok && id == strings.TrimSpace(string(boot)) {
			return accel
		}
	}
	accel := "tcg"
	if bootsWithKVM(ctx, guest) {
		accel = "kvm"
	}
	_ = os.WriteFile(file, []byte(strings.TrimSpace(string(boot))+" "+accel+"\n"), 0o644)
	return accel
}

// bootsWithKVM tests whether the guest's kernel boots with KVM within 6 s. It has no root disk, so it
// panics in the end and QEMU exits.
func bootsWithKVM(ctx context.Context, guest build.Guest) bool {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nographic",
		"-no-reboot", "-kernel", guest.Kernel, "-append", "console=ttyS0 panic=-1").CombinedOutput()
	return err == nil && bytes.Contains(out, []byte("Kernel panic"))
}
