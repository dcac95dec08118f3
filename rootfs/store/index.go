// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

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
	DockerManifest   = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList       = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfigType = "application/vnd.docker.container.image.v1+json"
	DockerLayer      = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// NewIndex returns an index without entries.
func NewIndex() *v1.Index {
	return &v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{},
	}
}

// maxIndex bounds index.json: some hundred thousand images.
const maxIndex = 64 << 20

// Index returns index.json as it is now.
func (s *Store) Index() (*v1.Index, error) {
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

// Change lets change modify index.json while nobody else does.
func (s *Store) Change(ctx context.Context, change func(*v1.Index) error) (err error) {
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
	idx, err := s.Index()
	if err != nil {
		return err
	}
	if err := change(idx); err != nil {
		return err
	}
	err = s.writeIndex(idx)
	s.step("index changed")
	return err
}

// Shrink is Change for what gives room back: it has to work on a full
// disk, and uses the room that is kept for it there.
func (s *Store) Shrink(ctx context.Context, change func(*v1.Index) error) error {
	err := s.Change(ctx, change)
	if !NoRoom(err) {
		return err
	}
	if removeErr := os.Remove(s.path(reserveFile)); removeErr != nil {
		return err
	}
	return s.Change(ctx, change)
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

// RefName is the name that an entry of the index has; "" without one.
func RefName(d v1.Descriptor) string { return d.Annotations[v1.AnnotationRefName] }

// IsManifest reports whether an entry is an image; what is kept about an image
// has a type of its own (artifact.go).
func IsManifest(d v1.Descriptor) bool {
	return !HasArtifactType(d) && isManifestType(d)
}

// HasArtifactType reports whether an entry says that it is something else than an
// image. Some tools write there what an image's configuration is.
func HasArtifactType(d v1.Descriptor) bool {
	return d.ArtifactType != "" && d.ArtifactType != v1.MediaTypeImageConfig && d.ArtifactType != DockerConfigType
}

func isManifestType(d v1.Descriptor) bool {
	return d.MediaType == v1.MediaTypeImageManifest || d.MediaType == DockerManifest || d.MediaType == ""
}

// AddNames makes names refer to the manifest d. An image that loses its last
// name that way stays, without one, until it is removed by its id.
func AddNames(idx *v1.Index, d v1.Descriptor, names []string) {
	var lost []v1.Descriptor
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
		if slices.Contains(names, RefName(m)) {
			lost = append(lost, m)
			return true
		}
		return false
	})
	for _, name := range names {
		idx.Manifests = append(idx.Manifests, Named(d, name))
	}
	if len(names) == 0 {
		lost = append(lost, d)
	}
	for _, m := range lost {
		KeepNameless(idx, m)
	}
	hasName := make(map[digest.Digest]bool)
	for _, m := range idx.Manifests {
		hasName[m.Digest] = hasName[m.Digest] || RefName(m) != ""
	}
	// An entry without a name says nothing once there is one with a name.
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
		return RefName(m) == "" && hasName[m.Digest]
	})
}

// KeepNameless enters an image without a name, if it is not there at all.
func KeepNameless(idx *v1.Index, d v1.Descriptor) {
	if !HasManifest(idx, d.Digest) {
		idx.Manifests = append(idx.Manifests, Named(d, ""))
	}
}

// HasManifest reports whether the index has an entry of that digest.
func HasManifest(idx *v1.Index, d digest.Digest) bool {
	return slices.ContainsFunc(idx.Manifests, func(m v1.Descriptor) bool { return m.Digest == d })
}

// Named returns the descriptor with another name, or without one.
func Named(d v1.Descriptor, name string) v1.Descriptor {
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

// NamesOf returns the names that the index has for a digest.
func NamesOf(idx *v1.Index, d digest.Digest) []string {
	var names []string
	for _, m := range idx.Manifests {
		if m.Digest == d && RefName(m) != "" {
			names = append(names, RefName(m))
		}
	}
	slices.Sort(names)
	return names
}

// NoRoom reports whether a disk, or what one may have of it, is full.
func NoRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
