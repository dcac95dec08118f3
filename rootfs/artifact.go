// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Artifact is something that is kept about an image: a bill of materials, a
// signature. It is what the OCI image specification (1.1) calls a referrer: a
// manifest with a subject. In the index it has no name, only its type.
type Artifact struct {
	// Digest is that of the artifact's manifest, Subject that of the image's.
	Digest, Subject digest.Digest
	// Type is the artifact's type, a media type.
	Type string
	// Blob is its one content.
	Blob        v1.Descriptor
	Annotations map[string]string

	config v1.Descriptor
}

// maxArtifact bounds the content of an artifact, which is read into memory.
const maxArtifact = 64 << 20

func isArtifact(d v1.Descriptor) bool { return hasArtifactType(d) && isManifestType(d) }

// Attach keeps data about the image subject, which may be a member of one for
// several platforms, in place of what was kept under
// the same type. It goes with the image. The artifact's type is the content's
// media type.
func (s *Store) Attach(ctx context.Context, subject digest.Digest, mediaType string, data []byte, annotations map[string]string) (_ Artifact, err error) {
	if len(data) > maxArtifact {
		return Artifact{}, fmt.Errorf("attach %s: %d bytes are more than %d", mediaType, len(data), maxArtifact)
	}
	gc, err := s.lockGC(ctx)
	if err != nil {
		return Artifact{}, err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	idx, err := s.readIndex()
	if err != nil {
		return Artifact{}, err
	}
	of, ok := s.manifest(idx, subject)
	if !ok {
		return Artifact{}, fmt.Errorf("attach %s: %w: %s", mediaType, ErrNotFound, subject)
	}
	d, err := s.putArtifact(ctx, v1.Descriptor{MediaType: of.MediaType, Digest: of.Digest, Size: of.Size}, mediaType, data, annotations)
	if err != nil {
		return Artifact{}, fmt.Errorf("attach %s: %w", mediaType, err)
	}
	err = s.changeIndex(ctx, func(idx *v1.Index) error {
		if _, ok := s.manifest(idx, subject); !ok {
			return fmt.Errorf("attach %s: %w: %s was removed meanwhile", mediaType, ErrNotFound, subject)
		}
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
			return m.Digest == d.Digest || m.ArtifactType == mediaType && s.isAbout(m, subject)
		})
		idx.Manifests = append(idx.Manifests, d)
		return nil
	})
	if err != nil {
		return Artifact{}, err
	}
	return s.artifact(d)
}

// putArtifact writes the content and the manifest, and returns the entry for
// the index.
func (s *Store) putArtifact(ctx context.Context, subject v1.Descriptor, mediaType string, data []byte, annotations map[string]string) (v1.Descriptor, error) {
	blob, err := s.putDocument(ctx, data, mediaType)
	if err != nil {
		return v1.Descriptor{}, err
	}
	config, err := s.putDocument(ctx, v1.DescriptorEmptyJSON.Data, v1.MediaTypeEmptyJSON)
	if err != nil {
		return v1.Descriptor{}, err
	}
	m := v1.Manifest{
		MediaType: v1.MediaTypeImageManifest, ArtifactType: mediaType, Config: config,
		Layers: []v1.Descriptor{blob}, Subject: &subject, Annotations: annotations,
	}
	m.SchemaVersion = 2
	d, err := s.putJSON(ctx, m, v1.MediaTypeImageManifest)
	d.ArtifactType, d.Annotations = mediaType, annotations
	return d, err
}

// artifact reads the manifest of an artifact.
func (s *Store) artifact(d v1.Descriptor) (Artifact, error) {
	data, err := s.readDocument(d)
	if err != nil {
		return Artifact{}, fmt.Errorf("artifact %s: %w", d.Digest, err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Artifact{}, fmt.Errorf("artifact %s: %w", d.Digest, err)
	}
	if m.Subject == nil || len(m.Layers) != 1 {
		return Artifact{}, fmt.Errorf("artifact %s: want a subject and one content, got %d", d.Digest, len(m.Layers))
	}
	for _, digest := range []digest.Digest{m.Subject.Digest, m.Config.Digest, m.Layers[0].Digest} {
		if err := checkDigest(digest); err != nil {
			return Artifact{}, fmt.Errorf("artifact %s: %w", d.Digest, err)
		}
	}
	return Artifact{
		Digest: d.Digest, Subject: m.Subject.Digest, Type: d.ArtifactType, Blob: m.Layers[0], Annotations: m.Annotations,
		config: m.Config,
	}, nil
}

// isAbout reports whether d is an artifact about the image subject. One that
// cannot be read is about none, and stays.
func (s *Store) isAbout(d v1.Descriptor, subject digest.Digest) bool {
	if !isArtifact(d) {
		return false
	}
	a, err := s.artifact(d)
	return err == nil && a.Subject == subject
}

// Artifacts returns what is kept about the image subject; of one type, or of
// all if artifactType is empty.
func (s *Store) Artifacts(ctx context.Context, subject digest.Digest, artifactType string) ([]Artifact, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var out []Artifact
	var errs []error
	for _, m := range idx.Manifests {
		if !isArtifact(m) || artifactType != "" && m.ArtifactType != artifactType {
			continue
		}
		a, err := s.artifact(m)
		if err == nil && a.Subject == subject {
			out = append(out, a)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(append(errs, ctx.Err())...)
}

// ReadArtifact returns the content of an artifact, verified.
func (s *Store) ReadArtifact(a Artifact) ([]byte, error) {
	if a.Blob.Size > maxArtifact {
		return nil, fmt.Errorf("artifact %s: %d bytes are more than %d", a.Digest, a.Blob.Size, maxArtifact)
	}
	r, err := s.openBlob(a.Blob)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	_, err = buf.ReadFrom(r)
	return buf.Bytes(), errors.Join(err, r.Close())
}

// markArtifact adds what an artifact needs to what must stay.
func (s *Store) markArtifact(l live, d v1.Descriptor) error {
	a, err := s.artifact(d)
	if err != nil {
		return fmt.Errorf("nothing is removed while an artifact is damaged: %w", err)
	}
	for _, digest := range []digest.Digest{d.Digest, a.config.Digest, a.Blob.Digest} {
		l.blobs[digest.Encoded()] = true
	}
	return nil
}
