// Package image builds and pushes the project's container images without a container engine: the
// sidecar, the guard, the example application, and the pause image that the development cluster
// needs. The same sources give the same digests.
package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/osc-debug/osc-debug/test/devcluster/build"
	"github.com/osc-debug/osc-debug/test/devcluster/topology"
)

// DefaultRegistry names the product's images where nobody names a registry. No such host can exist (RFC 6761), so
// nobody else can publish images under these names.
const DefaultRegistry = "registry.invalid/osc-debug"

// Built is an image with the reference by which a cluster pulls it.
type Built struct {
	Ref   string // registry/name:tag
	Image v1.Image
}

// Digest returns the image's reference by digest.
func (b Built) Digest() (string, error) {
	tag, err := name.NewTag(b.Ref)
	if err != nil {
		return "", err
	}
	digest, err := b.Image.Digest()
	return tag.Context().Name() + "@" + digest.String(), err
}

// Product builds the product's images: first the sidecar, if full is set also its full variant
// (which includes LLVM and is 10 times as large), and last the guard.
func Product(ctx context.Context, b *build.Builder, registry string, full bool) ([]Built, error) {
	tracer, err := b.Program(ctx, b.Root(), "./cmd/osc-tracer")
	if err != nil {
		return nil, err
	}
	variants := []string{"sidecar"}
	if full {
		variants = append(variants, "sidecar-full")
	}
	guard, err := b.Program(ctx, b.Root(), "./cmd/osc-guard")
	if err != nil {
		return nil, err
	}
	var built []Built
	for _, variant := range variants {
		img, err := sidecar(ctx, b, variant, tracer)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", variant, err)
		}
		built = append(built, Built{registry + "/" + variant + ":latest", img})
	}
	img, err := programImage(guard, v1.Config{Entrypoint: []string{"/osc-guard"}, User: "65532:65532"})
	if err != nil {
		return nil, fmt.Errorf("image guard: %w", err)
	}
	return append(built, Built{registry + "/guard:latest", img}), nil
}

// sidecar builds a variant of the sidecar image from Debian packages and the tracer.
func sidecar(ctx context.Context, b *build.Builder, variant, tracer string) (v1.Image, error) {
	lists := []string{filepath.Join(b.Root(), "sidecar", "packages.txt")}
	var keep []string
	if variant == "sidecar-full" {
		keep = append(keep, perlLibrary)
		lists = append(lists, filepath.Join(b.Root(), "sidecar", "packages-full.txt"))
	}
	root, err := b.RootFS(ctx, lists...)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := slim(f, keep...)
	if err != nil {
		return nil, err
	}
	base, err := asLayer(data)
	if err != nil {
		return nil, err
	}
	added, err := executables(map[string]string{"usr/bin/osc-tracer": tracer})
	if err != nil {
		return nil, err
	}
	// The package scripts, which did not run, would have created these users. tcpdump drops its
	// privileges to user tcpdump and does not start without it.
	added["etc/passwd"] = file{[]byte("root:x:0:0:root:/root:/bin/bash\ntcpdump:x:100:100::/nonexistent:/usr/sbin/nologin\n"), 0o644}
	added["etc/group"] = file{[]byte("root:x:0:\ntcpdump:x:100:\n"), 0o644}
	own, err := files(added)
	if err != nil {
		return nil, err
	}
	// The sidecar's main process only waits; tools run in it through exec.
	return assemble(v1.Config{Entrypoint: []string{"/usr/bin/osc-tracer", "idle"}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}, base, own)
}

// programImage builds an image with one program, in the root folder under its own name.
func programImage(binary string, config v1.Config) (v1.Image, error) {
	layer, err := programs(map[string]string{filepath.Base(binary): binary})
	if err != nil {
		return nil, err
	}
	return assemble(config, layer)
}

// assemble builds an image of layers with a configuration.
func assemble(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	base := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	img, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	return mutate.ConfigFile(img, file)
}

// BuildAll builds the images that the development cluster pulls and pushes them to its registry. It
// writes the sidecar's reference by digest to SidecarFile.
func BuildAll(ctx context.Context, b *build.Builder, log io.Writer) error {
	built, err := Product(ctx, b, DefaultRegistry, false)
	if err != nil {
		return err
	}
	digest, err := built[0].Digest()
	if err != nil {
		return err
	}
	if err := os.WriteFile(SidecarFile(b.Cache), []byte(digest+"\n"), 0o644); err != nil {
		return err
	}
	pause, err := b.Pause(ctx)
	if err != nil {
		return err
	}
	echo, err := b.Program(ctx, b.Root(), "./examples/http-echo")
	if err != nil {
		return err
	}
	for ref, binary := range map[string]string{
		"registry.k8s.io/pause:3.10.1":      filepath.Join(pause, "pause"),
		"quay.io/bpradipt/http-echo:latest": echo,
	} {
		img, err := programImage(binary, v1.Config{Entrypoint: []string{"/" + filepath.Base(binary)}})
		if err != nil {
			return err
		}
		built = append(built, Built{ref, img})
	}
	for _, i := range built {
		if err := pushLocal(ctx, i); err != nil {
			return err
		}
	}
	fmt.Fprintf(log, "    %d images, sidecar %s\n", len(built), digest)
	return nil
}

// SidecarFile returns the path of the file with the reference, by digest, of the sidecar that was
// built last.
func SidecarFile(cache string) string { return filepath.Join(cache, "sidecar.ref") }

// pushLocal pushes an image to the cluster's registry under its reference without the registry, the
// path that the nodes' mirror configuration uses.
func pushLocal(ctx context.Context, i Built) error {
	tag, err := name.NewTag(i.Ref)
	if err != nil {
		return err
	}
	local := topology.ClusterIP + ":" + topology.RegistryPort
	target, err := name.NewTag(local+"/"+tag.Context().RepositoryStr()+":"+tag.TagStr(), name.Insecure)
	if err != nil {
		return err
	}
	if err := waitFor(ctx, "http://"+local+"/v2/"); err != nil {
		return err
	}
	if err := remote.Write(target, i.Image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push %s: %w", i.Ref, err)
	}
	return nil
}

// waitFor waits until a URL answers, for 10 s at most.
func waitFor(ctx context.Context, url string) error {
	for range 100 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer", url)
}

// Publish builds the product's images for a registry and prints their references by digest. If push
// is set, it also pushes them, with the credentials from the user's container configuration.
func Publish(ctx context.Context, b *build.Builder, registry string, full, push bool, out io.Writer) error {
	if err := build.EnsurePackages(ctx, b.Log); err != nil {
		return err
	}
	built, err := Product(ctx, b, registry, full)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, i := range built {
		if push {
			tag, err := name.NewTag(i.Ref)
			if err != nil {
				return err
			}
			if err := remote.Write(tag, i.Image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
				return fmt.Errorf("push %s: %w", i.Ref, err)
			}
		}
		digest, err := i.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintln(&lines, digest)
	}
	first, _, _ := bytes.Cut(lines.Bytes(), []byte("\n"))
	if err := os.WriteFile(SidecarFile(b.Cache), append(first, '\n'), 0o644); err != nil {
		return err
	}
	_, err = out.Write(lines.Bytes())
	return err
}
