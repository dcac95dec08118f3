// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// live is what must stay: encoded digests of blobs and diff ids of layers.
type live struct{ blobs, layers map[string]bool }

func (l live) addLayer(d LayerDescriptor) {
	l.blobs[d.Descriptor.Digest.Encoded()] = true
	l.layers[d.DiffID.Encoded()] = true
}

// mark finds what must stay. If one image cannot be read, nothing is known
// about what it needs, and so nothing may go.
func (s *Store) mark() (live, error) {
	l := live{blobs: make(map[string]bool), layers: make(map[string]bool)}
	idx, err := s.readIndex()
	if err != nil {
		return l, err
	}
	for _, m := range idx.Manifests {
		if isArtifact(m) {
			if err := s.markArtifact(l, m); err != nil {
				return l, err
			}
			continue
		}
		if !isImage(m) {
			return l, fmt.Errorf("index entry %s of type %s was made by another program: nothing is removed beside it", m.Digest, m.MediaType)
		}
		if err := s.markImage(l, m); err != nil {
			return l, fmt.Errorf("nothing is removed while an image is damaged: image %s %s: %w", refName(m), m.Digest, err)
		}
	}
	return l, s.eachCached(func(e CacheEntry) {
		if !e.Layer.Empty {
			l.addLayer(e.Layer)
		}
	})
}

// markImage adds what an image, or each of an index, needs.
func (s *Store) markImage(l live, d v1.Descriptor) error {
	l.blobs[d.Digest.Encoded()] = true
	all := []v1.Descriptor{d}
	if isIndex(d) {
		var err error
		if all, err = s.members(d); err != nil {
			return err
		}
	}
	for _, m := range all {
		img, err := s.load(m)
		if err != nil {
			return err
		}
		l.blobs[m.Digest.Encoded()] = true
		l.blobs[img.ConfigDigest.Encoded()] = true
		for _, d := range img.LayerDescriptors() {
			l.addLayer(d)
		}
	}
	return nil
}

func (s *Store) collectBlobs(l live) error {
	dir := s.path("oci", v1.ImageBlobsDir, "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !l.blobs[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// partialAge is how long a download that broke off waits to be taken up.
const partialAge = 24 * time.Hour

// collectPartial removes downloads that broke off and are old. Nobody has one
// open: who downloads holds the gc lock.
func (s *Store) collectPartial(older time.Duration) error {
	entries, err := os.ReadDir(s.path("partial"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		if st, err := e.Info(); err == nil && time.Since(st.ModTime()) >= older {
			errs = append(errs, os.Remove(s.path("partial", e.Name())))
		}
	}
	return errors.Join(append(errs, err)...)
}

// collectLayers goes through the layers of this variant; see collectOthers.
func (s *Store) collectLayers(ctx context.Context, l live) (err error) {
	entries, err := os.ReadDir(s.path("layers", s.variant))
	if err != nil {
		return err
	}
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var errs []error
	for _, e := range entries {
		if !l.layers[e.Name()] {
			errs = append(errs, s.collectLayer(w, e.Name()))
		}
	}
	return errors.Join(errs...)
}

// collectLayer takes a layer out of sight; closing the workspace removes it.
func (s *Store) collectLayer(w *workspace, name string) error {
	lock, err := tryRemove(s.path("locks", "layer-"+name))
	if err != nil || lock == nil {
		return err
	}
	err = os.Rename(s.path("layers", s.variant, name), w.path(name)) //nolint:forbidigo // the store takes a layer out of sight
	return errors.Join(err, lock.Remove())
}
