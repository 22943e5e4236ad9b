package build

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Packages are the Debian packages that the cluster, its images and the tests need.
var Packages = []string{
	"busybox-static", "cpio", "e2fsprogs", "etcd-server", "gcc", "haproxy", "iproute2", "kmod",
	"libc6-dev", "libseccomp-dev", "mmdebstrap", "nftables", "pkg-config", "qemu-system-x86", "tshark",
}

// EnsurePackages installs missing packages as root; for other users it returns an error that names
// them.
func EnsurePackages(ctx context.Context, log io.Writer) error {
	var missing []string
	for _, p := range Packages {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", p).Output()
		if err != nil || string(out) != "installed" {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("install these Debian packages first: apt-get install %s", strings.Join(missing, " "))
	}
	fmt.Fprintf(log, "    installing %s\n", strings.Join(missing, " "))
	if _, err := run(ctx, command{name: "apt-get", args: []string{"-qq", "update"}}); err != nil {
		return err
	}
	args := append([]string{"-qq", "install", "-y", "--no-install-recommends"}, missing...)
	_, err := run(ctx, command{name: "apt-get", args: args, env: []string{"DEBIAN_FRONTEND=noninteractive"}})
	return err
}
