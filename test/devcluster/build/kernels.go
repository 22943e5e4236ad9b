package build

import (
	"context"
	"fmt"
	"path/filepath"
)

// mirror is where kernels of other Debian releases come from: their security archives do not keep all packages.
const mirror = "http://deb.debian.org/debian"

// KernelOf unpacks the cloud kernel of a Debian release and returns the path of its image.
func (b *Builder) KernelOf(ctx context.Context, release string) (string, error) {
	k, err := key([]string{release, mirror})
	if err != nil {
		return "", err
	}
	dir, err := b.cached("kernel-of-"+release, k, "the kernel of Debian "+release, func(dir string) error {
		_, err := run(ctx, command{name: "mmdebstrap", args: []string{
			"--quiet", "--variant=extract", "--include=linux-image-cloud-amd64", release, filepath.Join(dir, "root"), mirror,
		}})
		return err
	})
	if err != nil {
		return "", err
	}
	images, err := filepath.Glob(filepath.Join(dir, "root", "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return "", fmt.Errorf("%d kernels of Debian %s, wanted 1: %w", len(images), release, err)
	}
	return images[0], nil
}
