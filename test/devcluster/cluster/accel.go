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

// Accelerator says how QEMU runs the guest: "kvm" when a guest really boots with it
// (there are machines where /dev/kvm opens and guests hang), else "tcg". The answer
// is kept until the machine restarts.
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
	if boots(ctx, guest) {
		accel = "kvm"
	}
	_ = os.WriteFile(file, []byte(strings.TrimSpace(string(boot))+" "+accel+"\n"), 0o644)
	return accel
}

// boots tries for 6 s whether the kernel gets as far as looking for its root disk,
// which is not there, so that it panics and QEMU ends.
func boots(ctx context.Context, guest build.Guest) bool {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nographic",
		"-no-reboot", "-kernel", guest.Kernel, "-append", "console=ttyS0 panic=-1").CombinedOutput()
	return err == nil && bytes.Contains(out, []byte("Kernel panic"))
}
