package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// initramfs packs the guest's initramfs with this cluster's configuration in /osc: the contents of
// folder guest, and files, given as path on this machine to path in /osc.
func (spec Spec) initramfs(files map[string]string) error {
	d := spec.Dirs
	for from, to := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := writeAll(map[string]string{d.In("guest", to): string(data)}); err != nil {
			return err
		}
	}
	early := d.In("early")
	for _, args := range [][]string{
		{"cp", "-a", spec.Guest.Early, early},
		{"cp", "-a", d.In("guest"), filepath.Join(early, "osc")},
		{"sh", "-c", `cd "$1" && find . | cpio -o -H newc --quiet | gzip -1 > "$2"`, "sh", early, d.In("initramfs.gz")},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("pack the guest's initramfs: %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}
