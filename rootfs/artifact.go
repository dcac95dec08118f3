// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// Attach keeps data about the image subject, which may be a member of one for
// several platforms, in place of what was kept under
// the same type. It goes with the image. The artifact's type is the content's
// media type.
func (s *Store) Attach(ctx context.Context, subject digest.Digest, mediaType string, data []byte, annotations map[string]string) (_ Artifact, err error) {
	if len(data) > store.MaxArtifact {
		return Artifact{}, fmt.Errorf("attach %s: %d bytes are more than %d", mediaType, len(data), store.MaxArtifact)
	}
	b, err := s.Begin(ctx)
	if err != nil {
		return Artifact{}, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	idx, err := s.Index()
	if err != nil {
		return Artifact{}, err
	}
	of, ok := store.FindManifest(s, idx, subject)
	if !ok {
		return Artifact{}, fmt.Errorf("attach %s: %w: %s", mediaType, ErrNotFound, subject)
	}
	d, err := putArtifact(b, v1.Descriptor{MediaType: of.MediaType, Digest: of.Digest, Size: of.Size}, mediaType, data, annotations)
	if err != nil {
		return Artifact{}, fmt.Errorf("attach %s: %w", mediaType, err)
	}
	err = b.Commit(ctx, func(idx *v1.Index) error {
		if _, ok := store.FindManifest(s, idx, subject); !ok {
			return fmt.Errorf("attach %s: %w: %s was removed meanwhile", mediaType, ErrNotFound, subject)
		}
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
			return m.Digest == d.Digest || m.ArtifactType == mediaType && store.IsAbout(s, m, subject)
		})
		idx.Manifests = append(idx.Manifests, d)
		return nil
	})
	if err != nil {
		return Artifact{}, err
	}
	return store.LoadArtifact(s, d)
}

// putArtifact writes the content and the manifest, and returns the entry for
// the index.
func putArtifact(b *store.Batch, subject v1.Descriptor, mediaType string, data []byte, annotations map[string]string) (v1.Descriptor, error) {
	blob, err := b.Document(data, mediaType)
	if err != nil {
		return v1.Descriptor{}, err
	}
	config, err := b.Document(v1.DescriptorEmptyJSON.Data, v1.MediaTypeEmptyJSON)
	if err != nil {
		return v1.Descriptor{}, err
	}
	m := v1.Manifest{
		MediaType: v1.MediaTypeImageManifest, ArtifactType: mediaType, Config: config,
		Layers: []v1.Descriptor{blob}, Subject: &subject, Annotations: annotations,
	}
	m.SchemaVersion = 2
	d, err := b.JSON(m, v1.MediaTypeImageManifest)
	d.ArtifactType, d.Annotations = mediaType, annotations
	return d, err
}

// Artifacts returns what is kept about the image subject; of one type, or of
// all if artifactType is empty.
func (s *Store) Artifacts(ctx context.Context, subject digest.Digest, artifactType string) ([]Artifact, error) {
	idx, err := s.Index()
	if err != nil {
		return nil, err
	}
	var out []Artifact
	var errs []error
	for _, m := range idx.Manifests {
		if !store.IsArtifact(m) || artifactType != "" && m.ArtifactType != artifactType {
			continue
		}
		a, err := store.LoadArtifact(s, m)
		if err == nil && a.Subject == subject {
			out = append(out, a)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(append(errs, ctx.Err())...)
}

// ReadArtifact returns the content of an artifact, verified.
func (s *Store) ReadArtifact(a Artifact) ([]byte, error) {
	if a.Blob.Size > store.MaxArtifact {
		return nil, fmt.Errorf("artifact %s: %d bytes are more than %d", a.Digest, a.Blob.Size, store.MaxArtifact)
	}
	r, err := s.OpenBlob(a.Blob)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	_, err = buf.ReadFrom(r)
	return buf.Bytes(), errors.Join(err, r.Close())
}
