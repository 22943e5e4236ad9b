//go:build kernels

package kernels

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed init.sh
var initScript string

// bootTimeout bounds how long a VM may run. An emulated one takes some 30 s.
const bootTimeout = 5 * time.Minute

// vm is what a VM boots: a kernel, and an initramfs with BusyBox, the given programs and a script that runs them.
type vm struct {
	kernel   string            // path of its image
	programs map[string]string // path in the VM to path here
}

// run boots the VM, which ends by itself, and returns what it prints on its console. It has one CPU: with several, QEMU's
// emulation can run instructions that the kernel has patched on another CPU, and hangs.
func (v vm) run(ctx context.Context, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	initramfs, err := v.initramfs(ctx, dir)
	if err != nil {
		return "", err
	}
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-smp", "1", "-nographic", "-no-reboot",
		"-kernel", v.kernel, "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1")
	console, err := qemu.CombinedOutput()
	if err != nil {
		return string(console), fmt.Errorf("QEMU: %w", err)
	}
	return string(console), nil
}

// initramfs writes the VM's files into an archive in dir.
func (v vm) initramfs(ctx context.Context, dir string) (string, error) {
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "usr/lib", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return "", err
		}
	}
	files := map[string]string{"/bin/busybox": "/bin/busybox"}
	for to, from := range v.programs {
		files[to] = from
	}
	for to, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(root, to), data, 0o755); err != nil {
			return "", err
		}
	}
	for name, text := range map[string]string{"init": initScript, "etc/hostname": "vm\n", "etc/hosts": "127.0.0.1 localhost\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			return "", err
		}
	}
	return pack(ctx, root, filepath.Join(dir, "initramfs"))
}

// pack makes a cpio archive of a folder.
func pack(ctx context.Context, root, to string) (string, error) {
	var names bytes.Buffer
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		fmt.Fprintln(&names, name)
		return err
	})
	if err != nil {
		return "", err
	}
	out, err := os.Create(to)
	if err != nil {
		return "", err
	}
	defer out.Close()
	cpio := exec.CommandContext(ctx, "cpio", "--quiet", "-o", "-H", "newc")
	cpio.Dir, cpio.Stdin, cpio.Stdout, cpio.Stderr = root, &names, out, io.Discard
	if err := cpio.Run(); err != nil {
		return "", fmt.Errorf("cpio: %w", err)
	}
	return to, nil
}
