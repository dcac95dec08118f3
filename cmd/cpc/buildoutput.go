// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/terminal"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// output is one --output.
type output struct {
	kind, dest string
	names      []string
	push       bool
	unpacked   bool // a layout as a directory
}

// outputs reads --output, --push and --load.
func (f *buildFlags) outputs() ([]output, error) {
	var out []output
	for _, value := range f.output {
		o, err := parseOutput(value)
		if err != nil {
			return nil, fmt.Errorf("--output %s: %w", value, err)
		}
		out = append(out, o)
	}
	if f.push {
		out = append(out, output{kind: "image", push: true})
	}
	for i := range out {
		f.tags = append(f.tags, out[i].names...)
	}
	for _, o := range out {
		f.archived = f.archived || o.dest == "-"
		if o.push && len(f.tags) == 0 {
			return nil, errors.New("to push an image it needs a name: -t NAME")
		}
	}
	return out, nil
}

func parseOutput(value string) (o output, err error) {
	if value == "-" {
		return output{kind: "tar", dest: "-"}, nil
	}
	if !strings.Contains(value, "=") {
		return output{kind: "local", dest: value}, nil
	}
	fields, err := csvFields(value)
	if err != nil {
		return o, err
	}
	for _, f := range fields {
		switch f[0] {
		case "type":
			o.kind = f[1]
		case "dest":
			o.dest = f[1]
		case "name":
			o.names = slices.DeleteFunc(strings.Split(f[1], ","), func(s string) bool { return s == "" })
		case "push":
			o.push, err = strconv.ParseBool(f[1])
		case "tar":
			var archive bool
			archive, err = strconv.ParseBool(f[1])
			o.unpacked = !archive
		case "compression", "oci-mediatypes", "rewrite-timestamp", "force-compression", "compression-level", "unpack", "store":
			// How a layer is compressed is the store's choice.
		default:
			return o, fmt.Errorf("%q is not known", f[0])
		}
		if err != nil {
			return o, fmt.Errorf("%s: %w", f[0], err)
		}
	}
	return o, o.check()
}

func (o *output) check() error {
	switch o.kind {
	case "registry":
		o.kind, o.push = "image", true
	case "image", "docker", "cacheonly":
	case "local":
		if o.dest == "" {
			return errors.New("dest is missing")
		}
	case "tar", "oci":
		if o.dest == "" {
			o.dest = "-"
		}
	case "":
		return errors.New("type is missing")
	default:
		return fmt.Errorf("type %q: choose local, tar, oci, docker, image, registry or cacheonly", o.kind)
	}
	if o.dest == "-" && terminal.Is(os.Stdout) && o.kind != "local" {
		return errors.New("dest is missing: an archive is not written to a terminal")
	}
	return nil
}

// built is what a build made: one image, or an index of several.
type built struct {
	images []*rootfs.Image
	digest digest.Digest // of manifest or index
	id     digest.Digest // as docker shows it
}

// write writes all outputs but those that a registry gets. The image has no name
// in the store yet; an archive has the first of those that it is to get.
func (a buildCommands) write(ctx context.Context, outs []output, images []*rootfs.Image, o *build.Options) error {
	for _, out := range outs {
		if err := a.writeOne(ctx, out, images, o); err != nil {
			return err
		}
	}
	return nil
}

func (a buildCommands) writeOne(ctx context.Context, out output, images []*rootfs.Image, o *build.Options) error {
	so := rootfs.SaveOptions{Format: rootfs.OCIArchive, Names: o.Tags[:min(1, len(o.Tags))]}
	refs := []string{builtDigest(images).String()}
	switch {
	case out.kind == "local":
		return exportDirs(ctx, out.dest, images, o)
	case out.kind == "tar":
		return writeOutput(out.dest, 0o666, func(w io.Writer) error { return exportTars(ctx, w, images, o) })
	case out.kind == "oci" && out.unpacked:
		return o.Store.SaveDir(ctx, out.dest, refs, so)
	case out.kind == "docker" && out.dest != "":
		so.Format = rootfs.DockerArchive
	case out.kind != "oci":
		return nil // the store has it
	}
	return writeOutput(out.dest, 0o666, func(w io.Writer) error { return o.Store.Save(ctx, w, refs, so) })
}

// builtDigest is that of what a build made: of an index, if there are several.
func builtDigest(images []*rootfs.Image) digest.Digest {
	if len(images) > 1 {
		return images[0].Index
	}
	return images[0].Digest
}

func (a buildCommands) pushAll(ctx context.Context, images []*rootfs.Image, o *build.Options) error {
	client, err := a.registryClient(tellStderr)
	if err != nil {
		return err
	}
	for _, name := range o.Tags {
		done, err := o.Store.Push(ctx, name, rootfs.PushOptions{Client: client, NoReferrers: true, Image: builtDigest(images)})
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr(), "Pushed %s %s\n", name, done.Digest)
	}
	return nil
}

func exportOptions(o *build.Options) build.ExportOptions {
	e := build.ExportOptions{Store: o.Store, Mapping: o.Mapping}
	if n, err := strconv.ParseInt(o.Args["SOURCE_DATE_EPOCH"], 10, 64); err == nil {
		e.Epoch = time.Unix(n, 0)
	}
	return e
}

// exportDirs writes files; those of several platforms into a directory each.
func exportDirs(ctx context.Context, dir string, images []*rootfs.Image, o *build.Options) error {
	for _, img := range images {
		at := dir
		if len(images) > 1 {
			at = filepath.Join(dir, platformDir(img))
		}
		if err := build.ExportDir(ctx, img, at, exportOptions(o)); err != nil {
			return err
		}
	}
	return nil
}

func exportTars(ctx context.Context, w io.Writer, images []*rootfs.Image, o *build.Options) error {
	e := exportOptions(o)
	if len(images) > 1 {
		return errors.New("--output type=tar: for one platform only; type=local takes several")
	}
	return build.ExportTar(ctx, images[0], w, e)
}

// platformDir is docker's name for the files of a platform.
func platformDir(img *rootfs.Image) string {
	return strings.ReplaceAll(rootfs.FormatPlatform(img.Platform()), "/", "_")
}

// canReport finds out before the build whether report will have where to write.
func (f *buildFlags) canReport() error {
	for flag, name := range map[string]string{"--iidfile": f.iidfile, "--metadata-file": f.metadata} {
		if name == "" {
			continue
		}
		info, err := os.Stat(filepath.Dir(name))
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s: not a directory", filepath.Dir(name))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	return nil
}

// report says what was built, on the terminal and in files.
func (f *buildFlags) report(b *built) error {
	if f.iidfile != "" {
		if err := atomicfile.Named(f.iidfile, atomicfile.Options{}, atomicfile.Content([]byte(b.id))); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if f.metadata != "" {
		if err := f.writeMetadata(b); err != nil {
			return err
		}
	}
	if f.quiet {
		out := os.Stdout
		if f.archived { // which standard output is full of
			out = os.Stderr
		}
		_, err := fmt.Fprintln(out, b.id)
		return err
	}
	fmt.Fprintln(stderr(), "Built", strings.Join(append([]string{b.id.String()}, f.tags...), " "))
	return nil
}

// writeMetadata writes docker's file about a build.
func (f *buildFlags) writeMetadata(b *built) error {
	mediaType := v1.MediaTypeImageManifest
	about := map[string]any{"containerimage.digest": b.digest}
	if len(b.images) == 1 {
		about["containerimage.config.digest"] = b.images[0].ConfigDigest
	} else {
		mediaType = v1.MediaTypeImageIndex
	}
	about["containerimage.descriptor"] = map[string]any{"mediaType": mediaType, "digest": b.digest}
	if len(f.tags) > 0 {
		var names []string
		for _, t := range f.tags {
			names = append(names, canonicalOr(t))
		}
		about["image.name"] = strings.Join(names, ",")
	}
	data, err := json.MarshalIndent(about, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Named(f.metadata, atomicfile.Options{}, atomicfile.Content(append(data, '\n'))); err != nil {
		return fmt.Errorf("--metadata-file: %w", err)
	}
	return nil
}
