// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"fmt"

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

	// Config is the configuration of its manifest, which says nothing.
	Config v1.Descriptor
}

// MaxArtifact bounds the content of an artifact, which is read into memory.
const MaxArtifact = 64 << 20

// IsArtifact reports whether an entry of the index is kept about an image.
func IsArtifact(d v1.Descriptor) bool { return HasArtifactType(d) && isManifestType(d) }

// LoadArtifact reads the manifest of an artifact.
func LoadArtifact(from Reader, d v1.Descriptor) (Artifact, error) {
	data, err := ReadDocument(from, d)
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
		if err := CheckDigest(digest); err != nil {
			return Artifact{}, fmt.Errorf("artifact %s: %w", d.Digest, err)
		}
	}
	return Artifact{
		Digest: d.Digest, Subject: m.Subject.Digest, Type: d.ArtifactType, Blob: m.Layers[0], Annotations: m.Annotations,
		Config: m.Config,
	}, nil
}

// IsAbout reports whether d is an artifact about the image subject. One that
// cannot be read is about none, and stays.
func IsAbout(from Reader, d v1.Descriptor, subject digest.Digest) bool {
	if !IsArtifact(d) {
		return false
	}
	a, err := LoadArtifact(from, d)
	return err == nil && a.Subject == subject
}

// addArtifact adds what an artifact needs to what must stay.
func (l Objects) addArtifact(from Reader, d v1.Descriptor) error {
	a, err := LoadArtifact(from, d)
	if err != nil {
		return fmt.Errorf("nothing is removed while an artifact is damaged: %w", err)
	}
	for _, digest := range []digest.Digest{d.Digest, a.Config.Digest, a.Blob.Digest} {
		l.Blobs[digest.Encoded()] = true
	}
	return nil
}
