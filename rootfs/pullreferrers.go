// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// maxReferrers bounds how many are brought along with one image.
const maxReferrers = 64

// referrers downloads what the registry keeps about an image, and returns the
// entries for the index. Those of a form that is not kept here, with several
// contents, are left out, with a warning.
func (p *puller) referrers(ctx context.Context, subject digest.Digest) ([]v1.Descriptor, error) {
	o := p.remote(ctx)
	found, err := referrersOf(p.from.repo.Digest(subject.String()), o)
	if err != nil {
		return nil, err
	}
	var out []v1.Descriptor
	for _, d := range found {
		if len(out) == maxReferrers {
			return out, fmt.Errorf("there are more than %d", maxReferrers)
		}
		kept, err := p.referrer(d, subject, o)
		switch {
		case errors.Is(err, errOddReferrer):
			p.warn(fmt.Sprintf("referrer %s (%s) left out: %v", d.Digest, oneWord(d.ArtifactType), err))
		case err != nil:
			return out, fmt.Errorf("%s: %w", d.Digest, err)
		default:
			out = append(out, kept)
		}
	}
	return out, nil
}

func (p *puller) warn(text string) {
	if warn := p.s.Options().Warn; warn != nil {
		warn(text)
	}
}

var errOddReferrer = errors.New("it has not one content, of at most 64 MiB, about this image")

func (p *puller) referrer(d v1.Descriptor, subject digest.Digest, o []remote.Option) (v1.Descriptor, error) {
	desc, err := remote.Get(p.from.repo.Digest(d.Digest.String()), o...)
	if err != nil {
		return d, err
	}
	var m v1.Manifest
	if len(desc.Manifest) > store.MaxDocument || json.Unmarshal(desc.Manifest, &m) != nil {
		return d, errOddReferrer
	}
	d.Annotations, d.Platform, d.URLs, d.Data = m.Annotations, nil, nil, nil
	if d.ArtifactType == "" {
		d.ArtifactType = m.ArtifactType
	}
	if d.ArtifactType == "" {
		d.ArtifactType = m.Config.MediaType
	}
	if !store.IsArtifact(d) || m.Subject == nil || m.Subject.Digest != subject || len(m.Layers) != 1 ||
		m.Layers[0].Size > store.MaxArtifact || m.Config.Size > store.MaxDocument || store.CheckDigest(m.Config.Digest) != nil || store.CheckDigest(m.Layers[0].Digest) != nil {
		return d, errOddReferrer
	}
	for _, part := range []v1.Descriptor{m.Config, m.Layers[0]} {
		if err := p.part(part, o); err != nil {
			return d, err
		}
	}
	_, err = p.b.Document(desc.Manifest, d.MediaType)
	return d, err
}

// part downloads a small blob.
func (p *puller) part(d v1.Descriptor, o []remote.Option) (err error) {
	if p.s.HaveBlob(d) {
		return nil
	}
	l, err := remote.Layer(p.from.repo.Digest(d.Digest.String()), o...)
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return p.b.Blob(r, d)
}
