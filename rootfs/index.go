// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// Docker's media types, for what is pulled; all that is written here is OCI's.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func newIndex() *v1.Index {
	return &v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{},
	}
}

// maxIndex bounds index.json: some hundred thousand images.
const maxIndex = 64 << 20

// readIndex returns index.json as it is now.
func (s *Store) readIndex() (*v1.Index, error) {
	data, err := ownfile.Read(s.path("oci", v1.ImageIndexFile), maxIndex)
	if errors.Is(err, os.ErrNotExist) || ownfile.IsStray(err) {
		return nil, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	var idx v1.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIndex, s.path("oci", v1.ImageIndexFile), err)
	}
	return &idx, nil
}

func (s *Store) writeIndex(idx *v1.Index) error {
	data, err := json.MarshalIndent(idx, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path("oci", v1.ImageIndexFile), append(data, '\n'))
}

// changeIndex lets change modify index.json while nobody else does.
func (s *Store) changeIndex(ctx context.Context, change func(*v1.Index) error) (err error) {
	lock, err := filelock.Acquire(ctx, s.path("locks/index"), filelock.Exclusive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	// What a crash left of a replacement; the lock says that none is under way.
	stale, err := filepath.Glob(s.path("oci", "."+v1.ImageIndexFile+".*"))
	for _, f := range stale {
		err = errors.Join(err, os.Remove(f))
	}
	if err != nil {
		return err
	}
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	if err := change(idx); err != nil {
		return err
	}
	return s.writeIndex(idx)
}

// shrinkIndex is changeIndex for what gives room back: it has to work on a full
// disk, and uses the room that is kept for it there.
func (s *Store) shrinkIndex(ctx context.Context, change func(*v1.Index) error) error {
	err := s.changeIndex(ctx, change)
	if !noRoom(err) {
		return err
	}
	if removeErr := os.Remove(s.path(reserveFile)); removeErr != nil {
		return err
	}
	return s.changeIndex(ctx, change)
}

// reserveFile holds room for one more index.json.
const reserveFile = "locks/reserve"

// reserve makes that file, where it is missing and there is room.
func (s *Store) reserve() error {
	const size = 256 << 10
	if _, err := os.Stat(s.path(reserveFile)); err == nil {
		return nil
	}
	return atomicfile.Replace(s.path(reserveFile), atomicfile.Options{Volatile: true}, func(f *os.File) error {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if errors.Is(err, unix.ENOTSUP) {
			_, err = f.Write(make([]byte, size))
		}
		return err
	})
}

func refName(d v1.Descriptor) string { return d.Annotations[v1.AnnotationRefName] }

// isManifest reports whether an entry is an image; what is kept about an image
// has a type of its own (artifact.go).
func isManifest(d v1.Descriptor) bool {
	return !hasArtifactType(d) && isManifestType(d)
}

// hasArtifactType reports whether an entry says that it is something else than an
// image. Some tools write there what an image's configuration is.
func hasArtifactType(d v1.Descriptor) bool {
	return d.ArtifactType != "" && d.ArtifactType != v1.MediaTypeImageConfig && d.ArtifactType != dockerConfig
}

func isManifestType(d v1.Descriptor) bool {
	return d.MediaType == v1.MediaTypeImageManifest || d.MediaType == dockerManifest || d.MediaType == ""
}

// addNames makes names refer to the manifest d. An image that loses its last
// name that way stays, without one, until it is removed by its id.
func addNames(idx *v1.Index, d v1.Descriptor, names []string) {
	var lost []v1.Descriptor
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
		if slices.Contains(names, refName(m)) {
			lost = append(lost, m)
			return true
		}
		return false
	})
	for _, name := range names {
		idx.Manifests = append(idx.Manifests, named(d, name))
	}
	if len(names) == 0 {
		lost = append(lost, d)
	}
	for _, m := range lost {
		keepNameless(idx, m)
	}
	hasName := make(map[digest.Digest]bool)
	for _, m := range idx.Manifests {
		hasName[m.Digest] = hasName[m.Digest] || refName(m) != ""
	}
	// An entry without a name says nothing once there is one with a name.
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
		return refName(m) == "" && hasName[m.Digest]
	})
}

func keepNameless(idx *v1.Index, d v1.Descriptor) {
	if !hasManifest(idx, d.Digest) {
		idx.Manifests = append(idx.Manifests, named(d, ""))
	}
}

func hasManifest(idx *v1.Index, d digest.Digest) bool {
	return slices.ContainsFunc(idx.Manifests, func(m v1.Descriptor) bool { return m.Digest == d })
}

// named returns the descriptor with another name, or without one.
func named(d v1.Descriptor, name string) v1.Descriptor {
	a := make(map[string]string, len(d.Annotations)+1)
	maps.Copy(a, d.Annotations)
	delete(a, v1.AnnotationRefName)
	if name != "" {
		a[v1.AnnotationRefName] = name
	}
	d.Annotations = a
	if len(a) == 0 {
		d.Annotations = nil
	}
	return d
}
