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

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
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
	b, err := s.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	p, err := newSpool(ctx, s, b, r)
	if err != nil {
		return nil, err
	}
	p.platform = o.Platform
	found, err := p.images()
	if err == nil && o.Unpack {
		err = unpackEntered(ctx, b, found, store.OneAtATime(o.Progress))
	}
	if err != nil {
		return nil, err
	}
	return enter(ctx, b, found)
}

// LoadDir takes the images of an OCI image layout in a directory.
func (s *Store) LoadDir(ctx context.Context, dir string, o LoadOptions) (_ []*Image, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := countDir(ctx, root); err != nil {
		return nil, err
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

// entered is an image of an archive whose blobs are in the batch.
type entered struct {
	d     v1.Descriptor
	names []string
}

// images takes what is needed of the archive into the batch.
func (p *spool) images() (found []entered, err error) {
	if p.isLayout() {
		found, err = p.layout()
	} else {
		found, err = p.docker()
	}
	if err == nil && len(found) == 0 && p.others != nil {
		err = p.others
	}
	return found, err
}

// unwanted reports whether an image is for another platform than the one wanted.
func (p *spool) unwanted(cfg Config) bool {
	img := &Image{Config: cfg}
	if p.platform == nil || cfg.Architecture == "" || imageMatches(img, *p.platform) {
		return false
	}
	p.others = fmt.Errorf("%w (%s): it is for %s", ErrNoPlatform, FormatPlatform(*p.platform), oneWord(FormatPlatform(img.Platform())))
	return true
}

// unpackEntered unpacks the layers of images whose blobs are in a batch.
func unpackEntered(ctx context.Context, b *store.Batch, all []entered, tell func(Event)) error {
	for _, e := range all {
		if e.d.ArtifactType != "" {
			continue
		}
		d, err := choose(b, e.d, nil)
		if errors.Is(err, ErrNoPlatform) {
			continue // it cannot be run here
		}
		if err != nil {
			return err
		}
		img, err := store.LoadImage(b, d)
		if err != nil {
			return err
		}
		if err := b.Unpack(ctx, img.LayerDescriptors(), tell); err != nil {
			return err
		}
	}
	return nil
}

// enter commits a batch with images, and with what is kept about them.
func enter(ctx context.Context, b *store.Batch, all []entered) ([]*Image, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no image in it", ErrNoArchive)
	}
	var out []*Image
	return out, b.Commit(ctx, func(idx *v1.Index) error {
		for _, e := range all {
			if store.HasArtifactType(e.d) {
				if !store.HasManifest(idx, e.d.Digest) {
					idx.Manifests = append(idx.Manifests, e.d)
				}
				continue
			}
			store.AddNames(idx, e.d, e.names)
			img, err := catalog{b, idx}.loadEntry(e.d, nil)
			if err != nil {
				return err
			}
			img.Names = e.names
			out = append(out, img)
		}
		return nil
	})
}

// blobs takes a manifest and what it names.
func (p *spool) blobs(d v1.Descriptor, m v1.Manifest) error {
	for _, b := range append([]v1.Descriptor{m.Config, d}, m.Layers...) {
		if err := p.blob(b); err != nil {
			return err
		}
	}
	return nil
}

// artifact takes what is kept about an image, if that is taken.
func (p *spool) artifact(d v1.Descriptor, images []entered) (ok bool, err error) {
	data, err := p.document(blobName(d.Digest))
	if err != nil {
		return false, err
	}
	m, err := store.ParseManifest(data)
	if err != nil {
		return false, fmt.Errorf("artifact %s: %w", d.Digest, err)
	}
	if p.platform != nil && !slices.ContainsFunc(images, func(e entered) bool { return m.Subject != nil && e.d.Digest == m.Subject.Digest }) {
		return false, nil
	}
	if err := p.blobs(d, m); err != nil {
		return false, err
	}
	_, err = store.LoadArtifact(p.b, d)
	return true, err
}
