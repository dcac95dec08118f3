// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// Load takes the images of an archive into the store: docker's or an OCI image
// layout's, also compressed. Names in the archive are taken from other images,
// as when they are pulled. Nothing appears unless all of it is sound.
func (s *Store) Load(ctx context.Context, r io.Reader) (_ []*Image, err error) {
	gc, err := s.lockGC(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	p, err := s.newSpool(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer func() { err = errors.Join(err, p.close()) }()
	found, err := p.images(ctx)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return s.enter(ctx, found)
}

// LoadDir takes the images of an OCI image layout in a directory.
func (s *Store) LoadDir(ctx context.Context, dir string) (_ []*Image, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer root.Close()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := packLayout(root, w)
		done <- w.CloseWithError(err)
	}()
	images, err := s.Load(ctx, r)
	return images, errors.Join(err, r.Close(), <-done)
}

// entered is an image of an archive whose blobs are in the store.
type entered struct {
	d     v1.Descriptor
	names []string
}

// images moves what is needed of the archive into the store.
func (p *spool) images(ctx context.Context) ([]entered, error) {
	if p.isLayout() {
		return p.layout()
	}
	return p.docker(ctx)
}

// enter puts images, and what is kept about them, into the index.
func (s *Store) enter(ctx context.Context, all []entered) ([]*Image, error) {
	if err := s.syncfs(); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("load: %w: no image in it", ErrNoArchive)
	}
	var out []*Image
	return out, s.changeIndex(ctx, func(idx *v1.Index) error {
		for _, e := range all {
			if e.d.ArtifactType != "" {
				if !hasManifest(idx, e.d.Digest) {
					idx.Manifests = append(idx.Manifests, e.d)
				}
				continue
			}
			addNames(idx, e.d, e.names)
			img, err := s.loadEntry(idx, e.d, nil)
			if err != nil {
				return err
			}
			img.Names = e.names
			out = append(out, img)
		}
		return nil
	})
}

// layout reads an OCI image layout.
func (p *spool) layout() ([]entered, error) {
	data, err := p.document(v1.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	var idx v1.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, fmt.Errorf("%s: %w", v1.ImageIndexFile, err)
	}
	const most = 10_000
	if len(idx.Manifests) > most {
		return nil, fmt.Errorf("%s: more than %d images", v1.ImageIndexFile, most)
	}
	var images, about []entered
	for _, d := range idx.Manifests {
		switch {
		case isArtifact(d):
			if err := p.artifact(d); err != nil {
				return nil, err
			}
			about = append(about, entered{d: d})
		case isImage(d):
			names, err := layoutNames(d)
			if err != nil {
				return nil, err
			}
			kept, err := p.entry(d)
			if err != nil {
				return nil, err
			}
			images = addEntered(images, kept, names)
		}
	}
	return append(images, about...), nil
}

func addEntered(all []entered, d v1.Descriptor, names []string) []entered {
	d.Annotations, d.Platform = nil, nil
	at := slices.IndexFunc(all, func(e entered) bool { return e.d.Digest == d.Digest })
	if at < 0 {
		return append(all, entered{d: d, names: names})
	}
	all[at].names = append(all[at].names, names...)
	return all
}

// layoutNames returns the name that an entry of a layout has, if it is a whole
// one: a bare tag names nothing.
func layoutNames(d v1.Descriptor) ([]string, error) {
	name := d.Annotations[annotationImageName]
	if name == "" {
		name = refName(d)
	}
	if name == "" || tagOnly(name) || strings.Contains(name, "@") {
		return nil, nil
	}
	return parseTags([]string{name})
}

// entry moves an image, or those of an index that are there, into the store.
func (p *spool) entry(d v1.Descriptor) (v1.Descriptor, error) {
	data, err := p.document(blobName(d.Digest))
	if err != nil {
		return d, err
	}
	if !isIndex(d) {
		return d, p.manifest(d, data)
	}
	idx, err := parseIndex(data)
	if err != nil {
		return d, fmt.Errorf("image index %s: %w", d.Digest, err)
	}
	var here []v1.Descriptor
	for _, m := range idx.Manifests {
		if _, ok := p.find(blobName(m.Digest)); !ok || isIndex(m) || !runnable(m) {
			continue
		}
		data, err := p.document(blobName(m.Digest))
		if err == nil {
			err = p.manifest(m, data)
		}
		if err != nil {
			return d, err
		}
		here = append(here, m)
	}
	switch len(here) {
	case 0:
		return d, fmt.Errorf("image index %s: %w: none of its images is in the archive", d.Digest, ErrCorrupt)
	case 1:
		return here[0], nil
	}
	return d, p.blob(d)
}

// runnable tells images from attestations, which BuildKit lists beside them.
func runnable(d v1.Descriptor) bool {
	return isManifest(d) && (d.Platform == nil || d.Platform.Architecture != "unknown")
}

func (p *spool) manifest(d v1.Descriptor, data []byte) error {
	m, err := parseManifest(data)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	config, err := p.document(blobName(m.Config.Digest))
	if err != nil {
		return err
	}
	if _, err := parseConfig(config, len(m.Layers)); err != nil {
		return fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	for _, b := range append([]v1.Descriptor{m.Config, d}, m.Layers...) {
		if err := p.blob(b); err != nil {
			return err
		}
	}
	return nil
}

// artifact moves what is kept about an image into the store.
func (p *spool) artifact(d v1.Descriptor) error {
	data, err := p.document(blobName(d.Digest))
	if err != nil {
		return err
	}
	m, err := parseManifest(data)
	if err != nil {
		return fmt.Errorf("artifact %s: %w", d.Digest, err)
	}
	for _, b := range append([]v1.Descriptor{m.Config, d}, m.Layers...) {
		if err := p.blob(b); err != nil {
			return err
		}
	}
	_, err = p.s.artifact(d)
	return err
}

// docker reads an archive of docker, before version 25 or podman's.
func (p *spool) docker(ctx context.Context) ([]entered, error) {
	data, err := p.document(dockerManifestFile)
	if err != nil {
		return nil, err
	}
	var all []dockerImage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", dockerManifestFile, err)
	}
	var out []entered
	for _, img := range all {
		names, err := parseTags(img.RepoTags)
		if err != nil {
			return nil, err
		}
		d, err := p.dockerImage(ctx, img)
		if err != nil {
			return nil, err
		}
		out = addEntered(out, d, names)
	}
	return out, nil
}

func (p *spool) dockerImage(ctx context.Context, img dockerImage) (v1.Descriptor, error) {
	none := v1.Descriptor{}
	config, err := p.document(img.Config)
	if err != nil {
		return none, err
	}
	if len(img.Layers) > maxLayers {
		return none, fmt.Errorf("%d layers: at most %d are supported", len(img.Layers), maxLayers)
	}
	cfg, err := parseConfig(config, len(img.Layers))
	if err != nil {
		return none, fmt.Errorf("configuration %s: %w", img.Config, err)
	}
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	m.SchemaVersion = 2
	for i, name := range img.Layers {
		d, err := p.dockerLayer(ctx, name, cfg.RootFS.DiffIDs[i])
		if err != nil {
			return none, fmt.Errorf("layer %s: %w", name, err)
		}
		m.Layers = append(m.Layers, d)
	}
	if m.Config, err = p.s.putDocument(ctx, config, v1.MediaTypeImageConfig); err != nil {
		return none, err
	}
	return p.s.putJSON(ctx, m, v1.MediaTypeImageManifest)
}

// dockerLayer takes a layer of docker's archive, which says no more of it than
// its diff id. One that is compressed stays as it is, others are compressed.
func (p *spool) dockerLayer(ctx context.Context, name string, want digest.Digest) (_ v1.Descriptor, err error) {
	none := v1.Descriptor{}
	file, ok := p.find(name)
	if !ok {
		return none, fmt.Errorf("%w: it is missing from the archive", ErrCorrupt)
	}
	f, err := os.Open(p.place(file))
	if err != nil {
		return none, err
	}
	defer f.Close()
	mediaType, err := layer.MediaType(f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return none, err
	}
	if mediaType == v1.MediaTypeImageLayer {
		if file.digest != want {
			return none, fmt.Errorf("%w: its digest is %s, the image says %s", ErrCorrupt, file.digest, want)
		}
		return p.compress(ctx, f)
	}
	in, err := layer.Decompress(f, p.s.o.Limits)
	if err != nil {
		return none, err
	}
	hash := digest.SHA256.Hash()
	_, err = io.Copy(hash, in)
	if err = errors.Join(err, in.Close()); err != nil {
		return none, err
	}
	if got := digest.NewDigest(digest.SHA256, hash); got != want {
		return none, fmt.Errorf("%w: its diff id is %s, the image says %s", ErrCorrupt, got, want)
	}
	return v1.Descriptor{MediaType: mediaType, Digest: file.digest, Size: file.size}, p.adopt(file)
}

func (p *spool) compress(ctx context.Context, r io.Reader) (_ v1.Descriptor, err error) {
	w, err := p.s.newWorkspace(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	c, err := newCompressor(w)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := io.CopyBuffer(c, r, make([]byte, 1<<20)); err != nil {
		return v1.Descriptor{}, errors.Join(err, c.abort())
	}
	l, err := c.finish(p.s)
	return l.Descriptor, err
}

// adoptBlob moves a file that is known to have the digest to its place.
func (s *Store) adoptBlob(path string, d digest.Digest) error {
	err := os.Rename(path, s.blobPath(d))
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("no room for blob %s: %w", d, err)
	}
	return err
}
