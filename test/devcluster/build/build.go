// Package build builds the parts of the development cluster: Kubernetes, containerd and the CNI
// plugins from their Go modules, the guest's kernel and disk from Debian. It keeps each part in the
// cache under a key that depends on all of its sources, so a part is built once per version of its
// sources.
package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// Builder builds the parts.
type Builder struct {
	Source string // folder test/devcluster of a checkout
	Cache  string // folder of finished parts
	Log    io.Writer
}

// New returns a Builder for the checkout that contains the working directory.
func New(log io.Writer) (*Builder, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	cache, err := topology.Cache()
	if err != nil {
		return nil, err
	}
	for ; ; dir = filepath.Dir(dir) {
		source := filepath.Join(dir, "test", "devcluster")
		if _, err := os.Stat(filepath.Join(source, "kube", "go.mod")); err == nil {
			return &Builder{Source: source, Cache: cache, Log: log}, nil
		}
		if dir == filepath.Dir(dir) {
			return nil, fmt.Errorf("the working directory is not in a checkout of osc-debug")
		}
	}
}

// Root returns the checkout's top folder.
func (b *Builder) Root() string { return filepath.Dir(filepath.Dir(b.Source)) }

// cached returns the folder of a part and, if it does not exist, first calls make to fill it. make
// writes into a temporary folder that is renamed at the end, so an interrupted build leaves nothing
// that looks finished. Folders of the part with other keys are removed.
func (b *Builder) cached(part, key, what string, make func(dir string) error) (string, error) {
	dir := filepath.Join(b.Cache, "parts", part+"-"+key)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fmt.Fprintf(b.Log, "    building %s\n", what)
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", err
	}
	if err := make(tmp); err != nil {
		return "", fmt.Errorf("build %s: %w", part, err)
	}
	older, _ := filepath.Glob(filepath.Join(b.Cache, "parts", part+"-*"))
	if err := os.Rename(tmp, dir); err != nil {
		return "", err
	}
	for _, o := range older {
		if o != dir {
			os.RemoveAll(o)
		}
	}
	return dir, nil
}

// key returns 12 hex digits of a hash over texts, the files in folders (names and contents, not
// times), and the Go version.
func key(texts []string, folders ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	for _, t := range texts {
		fmt.Fprintf(h, "%d %s\n", len(t), t)
	}
	for _, folder := range folders {
		if err := hashFolder(h, folder); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// hashFolder adds the files of a folder to a hash.
func hashFolder(h io.Writer, folder string) error {
	var files []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(folder, f)
		fmt.Fprintf(h, "%s %d\n", rel, len(data))
		h.Write(data)
	}
	return nil
}

// command is a command to run.
type command struct {
	name string
	args []string
	dir  string
	env  []string // in addition to the current environment
}

// run runs a command and returns its output; an error includes the end of its standard error.
func run(ctx context.Context, c command) (string, error) {
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(errOut.String())
		if len(text) > 2000 {
			text = "…" + text[len(text)-2000:]
		}
		return "", fmt.Errorf("%s %s: %w\n%s", c.name, strings.Join(c.args, " "), err, text)
	}
	return out.String(), nil
}
