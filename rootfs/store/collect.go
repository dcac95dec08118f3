// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/filelock"
)

// Objects are blobs and layers: encoded digests, and encoded diff ids.
type Objects struct{ Blobs, Layers map[string]bool }

// NewObjects returns an empty set.
func NewObjects() Objects {
	return Objects{Blobs: make(map[string]bool), Layers: make(map[string]bool)}
}

// AddLayer adds a layer with its blob.
func (l Objects) AddLayer(d LayerDescriptor) {
	l.Blobs[d.Descriptor.Digest.Encoded()] = true
	l.Layers[d.DiffID.Encoded()] = true
}

// AddImage adds what an image needs.
func (l Objects) AddImage(img *Image) {
	l.Blobs[img.Digest.Encoded()] = true
	l.Blobs[img.ConfigDigest.Encoded()] = true
	for _, d := range img.LayerDescriptors() {
		l.AddLayer(d)
	}
}

// needed finds what must stay. If one image cannot be read, nothing is known
// about what it needs, and so nothing may go.
func (s *Store) needed() (Objects, error) {
	l := NewObjects()
	idx, err := s.Index()
	if err != nil {
		return l, err
	}
	for _, m := range idx.Manifests {
		if IsArtifact(m) {
			if err := l.addArtifact(s, m); err != nil {
				return l, err
			}
			continue
		}
		if !IsImage(m) {
			return l, fmt.Errorf("index entry %s of type %s was made by another program: nothing is removed beside it", m.Digest, m.MediaType)
		}
		if err := l.addEntry(s, m); err != nil {
			return l, fmt.Errorf("nothing is removed while an image is damaged: image %s %s: %w", RefName(m), m.Digest, err)
		}
	}
	return l, s.EachCached(func(e CacheEntry) {
		if !e.Layer.Empty {
			l.AddLayer(e.Layer)
		}
	})
}

// addEntry adds what an image, or each of an index, needs.
func (l Objects) addEntry(from Reader, d v1.Descriptor) error {
	l.Blobs[d.Digest.Encoded()] = true
	all := []v1.Descriptor{d}
	if IsIndex(d) {
		var err error
		if all, err = Members(from, d); err != nil {
			return err
		}
	}
	for _, m := range all {
		img, err := LoadImage(from, m)
		if err != nil {
			return err
		}
		l.AddImage(img)
	}
	return nil
}

// Collect removes blobs and unpacked layers that neither an image nor the
// build cache refers to, and that nobody uses. It does nothing while another
// process adds to the store; the next collection does it then.
func (s *Store) Collect(ctx context.Context) (err error) {
	gc, err := filelock.Try(s.path("locks/gc"), filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	live, err := s.needed()
	if err != nil {
		return err
	}
	return errors.Join(collectBlobs(s, live), collectLayers(ctx, s, live), collectOthers(ctx, s), collectPartial(s, partialAge))
}

func collectBlobs(s *Store, l Objects) error {
	dir := s.path(blobDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !l.Blobs[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// partialAge is how long a download that broke off waits to be taken up.
const partialAge = 24 * time.Hour

// collectPartial removes downloads that broke off and are old. Nobody has one
// open: who downloads holds the gc lock.
func collectPartial(s *Store, older time.Duration) error {
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
func collectLayers(ctx context.Context, s *Store, l Objects) (err error) {
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
		if !l.Layers[e.Name()] {
			errs = append(errs, collectLayer(s, w, e.Name()))
		}
	}
	return errors.Join(errs...)
}

// collectLayer takes a layer out of sight; closing the workspace removes it.
func collectLayer(s *Store, w *workspace, name string) error {
	lock, err := tryRemove(s.path("locks", "layer-"+name))
	if err != nil || lock == nil {
		return err
	}
	err = os.Rename(s.path("layers", s.variant, name), w.path(name))
	return errors.Join(err, lock.Remove())
}
