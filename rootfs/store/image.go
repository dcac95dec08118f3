// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"fmt"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image of a store.
type Image struct {
	// Names are the canonical names; none for a dangling image.
	Names []string
	// Digest is the manifest's, ConfigDigest what docker calls the image id.
	Digest, ConfigDigest digest.Digest
	// Index is the digest of the index that has the names, if that is one of
	// several platforms.
	Index    digest.Digest
	Manifest v1.Manifest
	Config   Config
	// Size is that of the manifest and all that it refers to, compressed.
	Size int64
}

// LayerDescriptor is a layer that is in the store as a blob.
type LayerDescriptor struct {
	Descriptor v1.Descriptor `json:"descriptor"`
	// DiffID is the digest of the layer without compression.
	DiffID digest.Digest `json:"diffID"`
	// Empty: nothing changed; there is no blob and the rest is zero.
	Empty bool `json:"empty,omitempty"`
}

// LayerDescriptors returns the image's layers as PutImage takes them, bottom
// first.
func (img *Image) LayerDescriptors() []LayerDescriptor {
	out := make([]LayerDescriptor, len(img.Manifest.Layers))
	for i, d := range img.Manifest.Layers {
		out[i] = LayerDescriptor{Descriptor: d, DiffID: img.Config.RootFS.DiffIDs[i]}
	}
	return out
}

// LoadImage reads manifest and configuration, verified, without names.
func LoadImage(from Reader, d v1.Descriptor) (*Image, error) {
	img := &Image{Digest: d.Digest}
	data, err := ReadDocument(from, d)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if img.Manifest, err = ParseManifest(data); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	data, err = ReadDocument(from, img.Manifest.Config)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if img.Config, err = ParseConfig(data, len(img.Manifest.Layers)); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", img.Manifest.Config.Digest, err)
	}
	img.ConfigDigest = img.Manifest.Config.Digest
	img.Size = d.Size + img.Manifest.Config.Size
	for _, l := range img.Manifest.Layers {
		img.Size += l.Size
	}
	return img, nil
}

// MaxLayers is how many layers an image may have: as many as one overlay can
// be mounted from (see Mount).
const MaxLayers = 200

// ParseManifest reads a manifest, and refuses one that no image can have.
func ParseManifest(data []byte) (v1.Manifest, error) {
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	if m.SchemaVersion != 2 {
		return m, fmt.Errorf("schema version %d: only 2 is supported", m.SchemaVersion)
	}
	if len(m.Layers) > MaxLayers {
		return m, fmt.Errorf("%d layers: at most %d are supported", len(m.Layers), MaxLayers)
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := CheckDigest(d.Digest); err != nil {
			return m, err
		}
		if d.Size < 0 {
			return m, fmt.Errorf("blob %s: negative size", d.Digest)
		}
	}
	return m, nil
}

// ParseConfig reads the configuration of an image of so many layers.
func ParseConfig(data []byte, layers int) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return c, err
	}
	if len(c.RootFS.DiffIDs) != layers {
		return c, fmt.Errorf("%d diff ids for %d layers", len(c.RootFS.DiffIDs), layers)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := CheckDigest(d); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Platform is the one that the image is for.
func (img *Image) Platform() v1.Platform { return platforms.Normalize(img.Config.Platform) }

// IsIndex reports whether an entry is an index: one name for images of several
// platforms.
func IsIndex(d v1.Descriptor) bool {
	return !HasArtifactType(d) && (d.MediaType == v1.MediaTypeImageIndex || d.MediaType == DockerList)
}

// IsImage reports whether an entry is what people call an image.
func IsImage(d v1.Descriptor) bool { return IsManifest(d) || IsIndex(d) }

// MaxPlatforms bounds what an index may list.
const MaxPlatforms = 256

// ParseIndex reads an index of images for several platforms.
func ParseIndex(data []byte) (*v1.Index, error) {
	var idx v1.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, err
	}
	if idx.SchemaVersion != 2 {
		return nil, fmt.Errorf("schema version %d: only 2 is supported", idx.SchemaVersion)
	}
	if len(idx.Manifests) > MaxPlatforms {
		return nil, fmt.Errorf("%d manifests: at most %d are supported", len(idx.Manifests), MaxPlatforms)
	}
	for _, d := range idx.Manifests {
		if err := CheckDigest(d.Digest); err != nil {
			return nil, err
		}
		if d.Size < 0 {
			return nil, fmt.Errorf("manifest %s: negative size", d.Digest)
		}
	}
	return &idx, nil
}

// Members returns the images of an index that are there. Those of other
// platforms, and what is no image, need not be.
func Members(from Reader, d v1.Descriptor) ([]v1.Descriptor, error) {
	data, err := ReadDocument(from, d)
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	idx, err := ParseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("image index %s: %w", d.Digest, err)
	}
	var here []v1.Descriptor
	for _, m := range idx.Manifests {
		if !IsManifest(m) || m.Platform == nil || m.Platform.Architecture == "unknown" {
			continue
		}
		if from.Stored(m.Digest) {
			here = append(here, m)
		}
	}
	return here, nil
}

// MembersOf returns those of an entry that is an index, as far as it can be read.
func MembersOf(from Reader, d v1.Descriptor) []v1.Descriptor {
	if !IsIndex(d) {
		return nil
	}
	here, err := Members(from, d)
	if err != nil {
		return nil // reading the image itself says why
	}
	return here
}

// FindManifest finds an image by the digest of its manifest: an entry of the store's
// index or a member of one.
func FindManifest(from Reader, idx *v1.Index, want digest.Digest) (v1.Descriptor, bool) {
	for _, m := range idx.Manifests {
		if m.Digest == want && IsManifest(m) {
			return m, true
		}
	}
	for _, m := range idx.Manifests {
		for _, of := range MembersOf(from, m) {
			if of.Digest == want {
				return of, true
			}
		}
	}
	return v1.Descriptor{}, false
}

// IsThere reports whether FindManifest finds an image.
func IsThere(from Reader, idx *v1.Index, d digest.Digest) bool {
	_, ok := FindManifest(from, idx, d)
	return ok
}
