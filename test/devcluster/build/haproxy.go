package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// haproxySuite is the Debian release whose HAProxy can add and remove servers while it runs. The machine's own is
// older.
const haproxySuite = "trixie"

// HAProxy unpacks HAProxy 3.0 with its libraries and returns the path of a script that runs it. It runs no package
// scripts.
func (b *Builder) HAProxy(ctx context.Context) (string, error) {
	k, err := key([]string{haproxySuite, haproxyScript})
	if err != nil {
		return "", err
	}
	dir, err := b.cached("haproxy", k, "HAProxy of Debian "+haproxySuite, func(dir string) error {
		_, err := run(ctx, command{name: "mmdebstrap", args: []string{
			"--quiet", "--variant=extract", "--include=haproxy", haproxySuite, filepath.Join(dir, "root"),
		}})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "haproxy"), []byte(haproxyScript), 0o755); err != nil {
			return err
		}
		if _, err := run(ctx, command{name: filepath.Join(dir, "haproxy"), args: []string{"-v"}}); err != nil {
			return fmt.Errorf("it does not run: %w", err)
		}
		return nil
	})
	return filepath.Join(dir, "haproxy"), err
}

// haproxyScript runs HAProxy with the loader and the libraries of its own release.
const haproxyScript = `#!/bin/sh
root=$(dirname "$0")/root
loader=$(echo "$root"/usr/lib/*/ld-linux-*.so.*)
exec "$loader" --library-path "$(dirname "$loader")" "$root/usr/sbin/haproxy" "$@"
`
