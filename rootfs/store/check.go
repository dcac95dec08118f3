// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// Finding is one thing that Check found wrong.
type Finding struct {
	// Object is an image, a blob, a layer or a file; Problem what is wrong.
	Object, Problem string
	// Repair is what mends it, or has mended it if Repaired.
	Repair   string
	Repaired bool
	// Leftover: it takes room and is no damage.
	Leftover bool
}

// checker is one run of Check.
type checker struct {
	s      *Store
	repair bool
	found  []Finding
}

// Check looks at all of the store: that every blob is what its digest says,
// that images have all they need, that unpacked layers have what their blobs
// have, and that nothing lies about. With repair
// what can be made again, or is of no use, is removed; an image that is
// damaged loses its names and goes. It waits for nobody: what is added or
// removed at the same time may be reported as unused.
func (s *Store) Check(ctx context.Context, repair bool) ([]Finding, error) {
	c := &checker{s: s, repair: repair}
	for _, step := range []func(context.Context) error{c.index, c.images, c.layers, c.cache, c.garbage} {
		if err := step(ctx); err != nil {
			return c.found, fmt.Errorf("check store: %w", err)
		}
	}
	return c.found, nil
}

// report records what is wrong and, if that is asked for, mends it.
func (c *checker) report(object, problem, repair string, mend func() error) error {
	f := Finding{Object: object, Problem: problem, Repair: repair}
	if c.repair && mend != nil {
		if err := mend(); err != nil {
			return fmt.Errorf("%s: %w", object, err)
		}
		f.Repaired = true
	}
	c.found = append(c.found, f)
	return nil
}

// index makes a lost list of images again, of the manifests there are. Their
// names are lost.
func (c *checker) index(ctx context.Context) error {
	_, err := c.s.Index()
	if err == nil || !errors.Is(err, ErrIndex) {
		return err
	}
	mended := false
	err = c.report("index.json", err.Error(), "the list of images is made anew; their names are lost", func() (err error) {
		lock, err := filelock.Acquire(ctx, c.s.path("locks/index"), filelock.Exclusive)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
		mended = true
		return c.s.writeIndex(rebuildIndex(c.s))
	})
	if err == nil && !mended {
		return ErrIndex
	}
	return err
}

// rebuildIndex looks for manifests among the blobs.
func rebuildIndex(s *Store) *v1.Index {
	idx := NewIndex()
	entries, _ := os.ReadDir(s.path(blobDir)) // none: an empty index
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Size() > MaxDocument || !info.Mode().IsRegular() {
			continue
		}
		data, err := ownfile.Read(s.path(blobDir, e.Name()), MaxDocument)
		if err != nil || len(data) == 0 || data[0] != '{' {
			continue
		}
		var kind struct {
			MediaType    string
			ArtifactType string
			Config       *v1.Descriptor
			Subject      *v1.Descriptor
		}
		if json.Unmarshal(data, &kind) != nil || kind.Config == nil {
			continue
		}
		d := v1.Descriptor{MediaType: kind.MediaType, Digest: digest.NewDigestFromEncoded(digest.SHA256, e.Name()), Size: info.Size()}
		if kind.Subject != nil {
			d.ArtifactType = kind.ArtifactType
		}
		if d.MediaType == "" {
			d.MediaType = v1.MediaTypeImageManifest
		}
		if IsImage(d) {
			if _, err := LoadImage(s, d); err != nil {
				continue
			}
		}
		idx.Manifests = append(idx.Manifests, d)
	}
	return idx
}

// images verifies every blob that an image needs.
func (c *checker) images(ctx context.Context) error {
	idx, err := c.s.Index()
	if err != nil {
		return err
	}
	sound := make(map[string]error)
	for _, m := range idx.Manifests {
		if err := ctx.Err(); err != nil {
			return err
		}
		problem := c.entry(m, sound)
		if problem == nil {
			continue
		}
		object := "image " + RefName(m)
		switch {
		case IsArtifact(m):
			object = "artifact " + m.Digest.String()
		case RefName(m) == "":
			object += m.Digest.String()
		}
		err := c.report(object, problem.Error(), "removed from the list of images: pull, load or build it again", func() error {
			return c.s.Shrink(ctx, func(idx *v1.Index) error {
				idx.Manifests = slices.DeleteFunc(idx.Manifests, func(x v1.Descriptor) bool {
					return x.Digest == m.Digest && RefName(x) == RefName(m)
				})
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return c.badBlobs(sound)
}

// badBlobs removes what is not what its name says, so that it is fetched anew.
func (c *checker) badBlobs(seen map[string]error) error {
	for name, problem := range seen {
		var corrupt *CorruptError
		if !errors.As(problem, &corrupt) || corrupt.Path == "" {
			continue
		}
		if _, err := os.Lstat(corrupt.Path); err != nil {
			continue
		}
		if err := c.report("blob "+name, corrupt.Why, "removed", func() error { return os.RemoveAll(corrupt.Path) }); err != nil {
			return err
		}
	}
	return nil
}

// entry says what is wrong with one entry of the index. Blobs that were looked
// at are remembered.
func (c *checker) entry(d v1.Descriptor, seen map[string]error) error {
	look := func(d v1.Descriptor) error {
		err, ok := seen[d.Digest.String()]
		if !ok {
			err = verify(c.s, d)
			seen[d.Digest.String()] = err
		}
		return err
	}
	if !IsImage(d) && !IsArtifact(d) {
		return fmt.Errorf("entry of type %s: made by another program", d.MediaType)
	}
	if err := look(d); err != nil {
		return err
	}
	if IsArtifact(d) {
		a, err := LoadArtifact(c.s, d)
		if err != nil {
			return err
		}
		return look(a.Blob)
	}
	all := []v1.Descriptor{d}
	if IsIndex(d) {
		var err error
		if all, err = Members(c.s, d); err != nil {
			return err
		}
	}
	for _, m := range all {
		if err := look(m); err != nil {
			return err
		}
		img, err := LoadImage(c.s, m)
		if err != nil {
			return err
		}
		for _, l := range img.Manifest.Layers {
			if err := look(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// cache looks for entries of the build cache that are of no use.
func (c *checker) cache(context.Context) error {
	files, err := filepath.Glob(c.s.path("cache", "*", "*.json"))
	if err != nil {
		return err
	}
	for _, f := range files {
		e, err := readCacheEntry(f)
		problem := ""
		switch {
		case errors.Is(err, ErrCorrupt):
			problem = err.Error()
		case err != nil:
			continue // removed meanwhile
		case !e.Layer.Empty:
			if _, err := os.Stat(c.s.blobPath(e.Layer.Descriptor.Digest)); err != nil {
				problem = "its layer is gone"
			}
		}
		if problem == "" {
			continue
		}
		if err := c.report("build cache "+filepath.Base(f), problem, "removed", func() error { return os.Remove(f) }); err != nil {
			return err
		}
	}
	return nil
}

// garbage looks for what nothing refers to.
func (c *checker) garbage(ctx context.Context) error {
	l, err := c.s.needed()
	if err != nil {
		if c.repair {
			return err
		}
		return nil // what is wrong has been reported
	}
	unused := func(dir, what string, used map[string]bool) error {
		entries, err := os.ReadDir(c.s.path(dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if used[e.Name()] {
				continue
			}
			problem := "nothing refers to it"
			if strings.HasSuffix(e.Name(), ".rm") {
				problem = "left half removed"
			}
			if err := c.report(what+" "+e.Name(), problem, "removed, unless something uses it", nil); err != nil {
				return err
			}
			last := &c.found[len(c.found)-1]
			last.Repaired, last.Leftover = c.repair, true
		}
		return nil
	}
	if err := unused(blobDir, "blob", l.Blobs); err != nil {
		return err
	}
	if err := unused("layers/"+c.s.variant, "layer", l.Layers); err != nil {
		return err
	}
	if !c.repair {
		return nil
	}
	if err := c.s.Collect(ctx); err != nil {
		return err
	}
	return c.s.sweepTmp()
}
