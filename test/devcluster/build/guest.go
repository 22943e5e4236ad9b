package build

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed guest-init.sh
var guestInit string

//go:embed guest-initramfs.sh
var guestInitramfs string

// guestSource is part of the disk's key, so that the key changes with the code that fills the disk.
//
//go:embed guest.go
var guestSource string

// Guest has the files that QEMU boots the second node from.
type Guest struct {
	Kernel string // bzImage
	Disk   string // ext4 image with containerd and kubelet; QEMU never writes to it
	Early  string // folder of the initramfs; each boot adds its configuration as /osc
}

var cloudImage = regexp.MustCompile(`linux-image-[0-9][^ ]*cloud-amd64`)

// kernel downloads and unpacks Debian's latest cloud kernel and returns its folder.
func (b *Builder) kernel(ctx context.Context) (string, error) {
	out, err := run(ctx, command{name: "apt-cache", args: []string{"depends", "linux-image-cloud-amd64"}})
	if err != nil || cloudImage.FindString(out) == "" {
		if _, err := run(ctx, command{name: "apt-get", args: []string{"-qq", "update"}}); err != nil {
			return "", err
		}
		if out, err = run(ctx, command{name: "apt-cache", args: []string{"depends", "linux-image-cloud-amd64"}}); err != nil {
			return "", err
		}
	}
	name := cloudImage.FindString(out)
	if name == "" {
		return "", fmt.Errorf("guest kernel: Debian has no package linux-image-cloud-amd64")
	}
	return b.cached("kernel", strings.TrimPrefix(name, "linux-image-"), "the guest's kernel, "+name, func(dir string) error {
		if _, err := run(ctx, command{name: "apt-get", args: []string{"download", name}, dir: dir}); err != nil {
			return err
		}
		debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(debs) != 1 {
			return fmt.Errorf("guest kernel: downloaded %d packages, wanted 1: %w", len(debs), err)
		}
		if _, err := run(ctx, command{name: "dpkg", args: []string{"-x", debs[0], dir}}); err != nil {
			return err
		}
		return os.Remove(debs[0])
	})
}

// Guest builds the disk and the initramfs of the second node.
func (b *Builder) Guest(ctx context.Context) (Guest, error) {
	kernel, err := b.kernel(ctx)
	if err != nil {
		return Guest{}, err
	}
	kube, err := b.Kube(ctx)
	if err != nil {
		return Guest{}, err
	}
	runtimeDir, err := b.Runtime(ctx)
	if err != nil {
		return Guest{}, err
	}
	version, err := onlyEntry(filepath.Join(kernel, "lib", "modules"))
	if err != nil {
		return Guest{}, err
	}
	k, err := key([]string{guestSource, guestInit, guestInitramfs, kernel, kube, runtimeDir})
	if err != nil {
		return Guest{}, err
	}
	dir, err := b.cached("guest", k, "the guest's disk", func(dir string) error {
		g := guestTree{root: filepath.Join(dir, "root"), early: filepath.Join(dir, "early"), kernel: kernel, version: version}
		if err := g.fill(ctx, kube, runtimeDir); err != nil {
			return err
		}
		disk := filepath.Join(dir, "disk.img")
		if err := truncate(disk, 6<<30); err != nil {
			return err
		}
		if _, err := run(ctx, command{name: "mkfs.ext4", args: []string{"-q", "-F", "-d", g.root, disk}}); err != nil {
			return err
		}
		return os.RemoveAll(g.root)
	})
	return Guest{
		Kernel: filepath.Join(kernel, "boot", "vmlinuz-"+version),
		Disk:   filepath.Join(dir, "disk.img"),
		Early:  filepath.Join(dir, "early"),
	}, err
}

// guestTree has the folders from which the guest is built.
type guestTree struct {
	root, early string // contents of the disk and of the initramfs
	kernel      string // folder of the unpacked kernel package
	version     string // of the kernel
}

// fill copies programs, scripts and kernel modules into the folders.
func (g guestTree) fill(ctx context.Context, kube, runtimeDir string) error {
	for _, d := range []string{
		"bin", "sbin", "etc/osc", "proc", "sys", "dev", "tmp", "run", "root", "lib/modules",
		"var/lib/kubelet", "var/log", "opt/cni/bin",
	} {
		if err := os.MkdirAll(filepath.Join(g.root, d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"bin", "proc", "sys", "dev", "new", "mods"} {
		if err := os.MkdirAll(filepath.Join(g.early, d), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{
		filepath.Join(kube, "kube"):             "bin/kubelet",
		"/bin/busybox":                          "bin/busybox",
		runtimeDir + "/containerd":              "bin/containerd",
		runtimeDir + "/ctr":                     "bin/ctr",
		runtimeDir + "/runc":                    "bin/runc",
		runtimeDir + "/bridge":                  "opt/cni/bin/bridge",
		runtimeDir + "/loopback":                "opt/cni/bin/loopback",
		runtimeDir + "/host-local":              "opt/cni/bin/host-local",
		runtimeDir + "/containerd-shim-runc-v2": "bin/containerd-shim-runc-v2",
	}
	for from, to := range files {
		if err := copyFile(from, filepath.Join(g.root, to)); err != nil {
			return err
		}
	}
	for _, applet := range []string{"sh", "mount", "umount", "mkdir", "ip", "hostname", "sleep", "cat", "modprobe"} {
		if err := os.Symlink("busybox", filepath.Join(g.root, "bin", applet)); err != nil {
			return err
		}
	}
	texts := map[string]string{
		g.root + "/init": guestInit, g.early + "/init": guestInitramfs,
		// The kubelet does not start without these two files.
		g.root + "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", g.root + "/etc/group": "root:x:0:\n",
	}
	for path, text := range texts {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			return err
		}
	}
	if err := copyFile("/bin/busybox", filepath.Join(g.early, "bin", "busybox")); err != nil {
		return err
	}
	return g.modules(ctx)
}

// modules copies all kernel modules to the disk. It also copies those that the guest needs to mount
// the disk into the initramfs, with a list of their loading order.
func (g guestTree) modules(ctx context.Context) error {
	from := filepath.Join(g.kernel, "lib", "modules", g.version)
	if _, err := run(ctx, command{name: "cp", args: []string{"-a", from, filepath.Join(g.root, "lib", "modules")}}); err != nil {
		return err
	}
	if _, err := run(ctx, command{name: "depmod", args: []string{"-b", g.root, g.version}}); err != nil {
		return err
	}
	var order []string
	seen := map[string]bool{}
	for _, m := range []string{"virtio_pci", "virtio_blk", "ext4"} {
		out, err := run(ctx, command{name: "modprobe", args: []string{"-d", g.root, "-S", g.version, "--show-depends", m}})
		if err != nil {
			return err
		}
		for _, line := range strings.Split(out, "\n") {
			path, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
			if !ok || seen[path] {
				continue
			}
			seen[path] = true
			order = append(order, filepath.Base(path))
			if err := copyFile(path, filepath.Join(g.early, "mods", filepath.Base(path))); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(g.early, "mods", "order"), []byte(strings.Join(order, "\n")+"\n"), 0o644)
}

// onlyEntry returns the name of a folder's only entry.
func onlyEntry(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("%s has %d entries, wanted 1", dir, len(entries))
	}
	return entries[0].Name(), nil
}

// truncate creates a sparse file of a size in bytes.
func truncate(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

// copyFile copies a file with mode 0755.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
