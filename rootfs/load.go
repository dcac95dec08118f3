// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// LoadOptions are the options of Load.
type LoadOptions struct {
	// Platform is the one whose images are wanted; all if nil.
	Platform *v1.Platform
	// Unpack has layers unpacked, as Pull does, before the images appear. The
	// caller must have the rights that Layers needs. Of an image for several
	// platforms it is the one that would be run.
	Unpack bool
	// Progress, if set, is told of the unpacking, one event at a time.
	Progress func(Event)
}

// Load takes the images of an archive into the store: docker's or an OCI image
// layout's, also compressed. Names in the archive are taken from other images,
// as when they are pulled. Nothing appears unless all of it is sound. The error is
// ErrNoPlatform if all images are for other platforms than the one wanted.
func (s *Store) Load(ctx context.Context, r io.Reader, o LoadOptions) (_ []*Image, err error) {
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
	p.platform = o.Platform
	found, err := p.images(ctx)
	if err == nil && o.Unpack {
		err = s.unpackEntered(ctx, found, oneAtATime(o.Progress))
	}
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return s.enter(ctx, found)
}

// LoadDir takes the images of an OCI image layout in a directory.
func (s *Store) LoadDir(ctx context.Context, dir string, o LoadOptions) (_ []*Image, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer root.Close()
	if err := countDir(ctx, root); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := packLayout(root, w)
		done <- w.CloseWithError(err)
	}()
	images, err := s.Load(ctx, r, o)
	return images, errors.Join(err, r.Close(), <-done)
}

// entered is an image of an archive whose blobs are in the store.
type entered struct {
	d     v1.Descriptor
	names []string
}

// images moves what is needed of the archive into the store.
func (p *spool) images(ctx context.Context) (found []entered, err error) {
	if p.isLayout() {
		found, err = p.layout(ctx)
	} else {
		found, err = p.docker(ctx)
	}
	if err == nil && len(found) == 0 && p.others != nil {
		err = p.others
	}
	return found, err
}

// unwanted reports whether an image is for another platform than the one wanted.
func (p *spool) unwanted(cfg Config) bool {
	img := &Image{Config: cfg}
	if p.platform == nil || cfg.Architecture == "" || img.matches(*p.platform) {
		return false
	}
	p.others = fmt.Errorf("%w (%s): it is for %s", ErrNoPlatform, FormatPlatform(*p.platform), oneWord(FormatPlatform(img.Platform())))
	return true
}

// unpackEntered unpacks the layers of images whose blobs are in the store.
func (s *Store) unpackEntered(ctx context.Context, all []entered, tell func(Event)) error {
	for _, e := range all {
		if e.d.ArtifactType != "" {
			continue
		}
		d, err := s.choose(e.d, nil)
		if errors.Is(err, ErrNoPlatform) {
			continue // it cannot be run here
		}
		if err != nil {
			return err
		}
		img, err := s.load(d)
		if err != nil {
			return err
		}
		if _, err := s.unpackLayers(ctx, img.LayerDescriptors(), tell); err != nil {
			return err
		}
	}
	return nil
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
			if hasArtifactType(e.d) {
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

// blobs moves a manifest and what it names into the store.
func (p *spool) blobs(d v1.Descriptor, m v1.Manifest) error {
	for _, b := range append([]v1.Descriptor{m.Config, d}, m.Layers...) {
		if err := p.blob(b); err != nil {
			return err
		}
	}
	return nil
}

// artifact moves what is kept about an image into the store, if that is.
func (p *spool) artifact(d v1.Descriptor, images []entered) (ok bool, err error) {
	data, err := p.document(blobName(d.Digest))
	if err != nil {
		return false, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return false, fmt.Errorf("artifact %s: %w", d.Digest, err)
	}
	if p.platform != nil && !slices.ContainsFunc(images, func(e entered) bool { return m.Subject != nil && e.d.Digest == m.Subject.Digest }) {
		return false, nil
	}
	if err := p.blobs(d, m); err != nil {
		return false, err
	}
	_, err = p.s.artifact(d)
	return true, err
}

// adoptBlob moves a file that is known to have the digest to its place.
func (s *Store) adoptBlob(path string, d digest.Digest) error {
	err := os.Rename(path, s.blobPath(d)) //nolint:forbidigo // the store names what it has synced by its digest
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("no room for blob %s: %w", d, err)
	}
	return err
}
