// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image of a store.
type Image struct {
	// Names are the canonical names; none for a dangling image.
	Names []string
	// Digest is the manifest's, ConfigDigest what docker calls the image id.
	Digest, ConfigDigest digest.Digest
	Manifest             v1.Manifest
	Config               Config
	// Size is that of the manifest and all that it refers to, compressed.
	Size int64
}

// Config is an image configuration: the published one and docker's fields.
type Config struct {
	v1.Image
	// Docker holds the fields of "config" that docker has and OCI lacks.
	Docker DockerConfig
}

// DockerConfig are the fields that docker adds to "config".
type DockerConfig struct {
	Healthcheck *Healthcheck
	Shell       []string
	OnBuild     []string
	// Other holds every further field as it was read, by name.
	Other map[string]json.RawMessage
}

// Healthcheck is docker's: Test is {"NONE"}, {"CMD", …} or {"CMD-SHELL", …}.
type Healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// LayerDescriptor is a layer that is in the store as a blob and unpacked.
type LayerDescriptor struct {
	Descriptor v1.Descriptor `json:"descriptor"`
	DiffID     digest.Digest `json:"diffID"`
	// Empty: nothing changed; there is no blob and the rest is zero.
	Empty bool `json:"empty,omitempty"`
}

// CommitOptions are the options of CommitUpper.
type CommitOptions struct {
	// Clamp, if not zero, is the latest modification time in the layer.
	Clamp time.Time
}

// CommitUpper turns the upper directory of an overlay into a layer and takes
// the directory over: it is gone afterwards.
func (s *Store) CommitUpper(ctx context.Context, upper string, o CommitOptions) (LayerDescriptor, error) {
	return LayerDescriptor{}, errNotWritten
}

// PutImage writes config and manifest and gives the image its names. It fills
// in RootFS from layers; History is the caller's.
func (s *Store) PutImage(ctx context.Context, cfg Config, layers []LayerDescriptor, names []string) (*Image, error) {
	return nil, errNotWritten
}

// LayerDescriptors returns the image's layers as PutImage takes them.
func (img *Image) LayerDescriptors() []LayerDescriptor { return nil }

// UnpackLayers is Layers for a list of descriptors that is no image yet.
func (s *Store) UnpackLayers(ctx context.Context, layers []LayerDescriptor) ([]Layer, error) {
	return nil, errNotWritten
}

// CacheEntry is the result of one build step.
type CacheEntry struct {
	Layer  LayerDescriptor `json:"layer"`
	Config json.RawMessage `json:"config,omitempty"`
}

// CacheGet returns the entry of key; false if there is none or if its layer is gone.
func (s *Store) CacheGet(key digest.Digest) (CacheEntry, bool, error) {
	return CacheEntry{}, false, errNotWritten
}

// CachePut stores an entry.
func (s *Store) CachePut(key digest.Digest, e CacheEntry) error { return errNotWritten }

// ParseReference returns the canonical form of an image name as people type it.
func ParseReference(s string) (canonical string, err error) { return "", errNotWritten }
