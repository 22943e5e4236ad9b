package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// RootFS unpacks the Debian packages that are named in the files lists, and their dependencies, and
// returns the path of the resulting tar file. It runs no package scripts.
func (b *Builder) RootFS(ctx context.Context, lists ...string) (string, error) {
	var names []string
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			return "", err
		}
		names = append(names, strings.Fields(string(data))...)
	}
	if len(names) == 0 {
		return "", fmt.Errorf("root filesystem: no packages named in %s", strings.Join(lists, ", "))
	}
	k, err := key(names)
	if err != nil {
		return "", err
	}
	part := "tools"
	if len(lists) > 1 {
		part = "fulltools" // a part of its own, so that both are kept in the cache
	}
	dir, err := b.cached(part, k, "the sidecar's tools: "+strings.Join(names, " "), func(dir string) error {
		_, err := run(ctx, command{name: "mmdebstrap", args: []string{
			"--quiet", "--variant=extract", "--include=" + strings.Join(names, ","), "bookworm", filepath.Join(dir, "root.tar"),
		}})
		return err
	})
	return filepath.Join(dir, "root.tar"), err
}
