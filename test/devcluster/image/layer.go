package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the modification time of every file in an image, so that equal files give equal digests.
var epoch = time.Unix(0, 0)

// file is a file of an image.
type file struct {
	data []byte
	mode int64
}

// programs builds a layer of executables, given as path in the image to path on this machine.
func programs(binaries map[string]string) (v1.Layer, error) {
	read, err := executables(binaries)
	if err != nil {
		return nil, err
	}
	return files(read)
}

// executables reads executables, given as for programs.
func executables(binaries map[string]string) (map[string]file, error) {
	out := map[string]file{}
	for name, binary := range binaries {
		data, err := os.ReadFile(binary)
		if err != nil {
			return nil, err
		}
		out[name] = file{data, 0o755}
	}
	return out, nil
}

// files builds a layer of files, given by their path in the image.
func files(files map[string]file) (v1.Layer, error) {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{}
	for _, name := range names {
		f := files[name]
		for _, dir := range parents(name) {
			if !made[dir] {
				made[dir] = true
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: epoch}); err != nil {
					return nil, err
				}
			}
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: f.mode, Size: int64(len(f.data)), ModTime: epoch}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return asLayer(buf.Bytes())
}

// parents returns the folders above a path, from the top down.
func parents(name string) []string {
	var dirs []string
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}

// asLayer returns a tar file as a layer. It uses zstd, which unpacks several times faster than gzip;
// that matters in an emulated guest.
func asLayer(data []byte) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
}

// unneeded are paths of a Debian system that none of the sidecar's tools reads, such as package
// databases, translations, and the Perl of packaging scripts.
var unneeded = []string{
	"usr/share/locale/", "usr/share/man/", "usr/share/info/", "usr/share/perl/", "usr/share/perl5/", "usr/share/lintian/",
	"usr/share/bash-completion/", "usr/share/zoneinfo/", "usr/lib/locale/", "usr/lib/x86_64-linux-gnu/perl",
	"usr/share/icons/", "usr/share/applications/", "usr/share/pixmaps/", "usr/share/nmap/", "usr/lib/systemd/", "lib/systemd/", "usr/share/tcpdump/",
	"usr/lib/x86_64-linux-gnu/gconv/", perlLibrary, "usr/bin/perl", "etc/perl/",
	"var/cache/", "var/lib/apt/", "var/lib/dpkg/", "var/log/", "dev/",
}

// perlLibrary is unneeded but in the full image: perf is linked with it.
const perlLibrary = "usr/lib/x86_64-linux-gnu/libperl"

// slim rewrites a root filesystem without unneeded files, but with all licences, and sets all times
// to epoch. keep are prefixes of files to keep nevertheless.
func slim(in io.Reader, keep ...string) ([]byte, error) {
	var buf bytes.Buffer
	r, w := tar.NewReader(in), tar.NewWriter(&buf)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("root filesystem: %w", err)
		}
		h.Name = strings.TrimPrefix(h.Name, "./")
		kept := slices.ContainsFunc(keep, func(prefix string) bool { return strings.HasPrefix(h.Name, prefix) })
		if h.Name == "" || isUnneeded(h.Name) && !kept {
			continue
		}
		h.ModTime, h.AccessTime, h.ChangeTime = epoch, time.Time{}, time.Time{}
		h.PAXRecords, h.Format = nil, tar.FormatUnknown
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, r); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

// isUnneeded says whether slim leaves a file out.
func isUnneeded(name string) bool {
	if rest, ok := strings.CutPrefix(name, "usr/share/doc/"); ok {
		return rest != "" && !strings.HasSuffix(rest, "/copyright") && !strings.HasSuffix(rest, "/")
	}
	for _, prefix := range unneeded {
		if strings.HasPrefix(name, prefix) && name != prefix {
			return true
		}
	}
	return false
}
