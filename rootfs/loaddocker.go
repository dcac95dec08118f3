// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/notation"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// docker reads an archive of docker, before version 25 or podman's.
func (p *spool) docker() ([]entered, error) {
	data, err := p.document(dockerManifestFile)
	if err != nil {
		return nil, err
	}
	var all []dockerImage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", dockerManifestFile, notation.JSON(err))
	}
	var out []entered
	for _, img := range all {
		names, err := parseTags(img.RepoTags)
		if err != nil {
			return nil, err
		}
		d, ok, err := p.dockerImage(img)
		if err != nil {
			return nil, err
		}
		if ok {
			out = addEntered(out, d, names)
		}
	}
	return out, nil
}

// dockerImage takes an image, if it is wanted.
func (p *spool) dockerImage(img dockerImage) (_ v1.Descriptor, ok bool, err error) {
	none := v1.Descriptor{}
	config, err := p.document(img.Config)
	if err != nil {
		return none, false, err
	}
	if len(img.Layers) > store.MaxLayers {
		return none, false, fmt.Errorf("%d layers: at most %d are supported", len(img.Layers), store.MaxLayers)
	}
	cfg, err := store.ParseConfig(config, len(img.Layers))
	if err != nil {
		return none, false, fmt.Errorf("configuration %s: %w", img.Config, err)
	}
	if p.unwanted(cfg) {
		return none, false, nil
	}
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	m.SchemaVersion = 2
	for i, name := range img.Layers {
		d, err := p.dockerLayer(name, cfg.RootFS.DiffIDs[i])
		if err != nil {
			return none, false, fmt.Errorf("layer %s: %w", name, err)
		}
		m.Layers = append(m.Layers, d)
	}
	if m.Config, err = p.b.Document(config, v1.MediaTypeImageConfig); err != nil {
		return none, false, err
	}
	d, err := p.b.JSON(m, v1.MediaTypeImageManifest)
	return d, true, err
}

// dockerLayer takes a layer of docker's archive, which says no more of it than
// its diff id. One that is compressed stays as it is, others are compressed.
func (p *spool) dockerLayer(name string, want digest.Digest) (_ v1.Descriptor, err error) {
	none := v1.Descriptor{}
	file, ok := p.find(name)
	if !ok {
		return none, fmt.Errorf("%w: it is missing from the archive", ErrCorrupt)
	}
	f, err := file.Open()
	if err != nil {
		return none, err
	}
	defer f.Close()
	mediaType, err := layer.MediaType(f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return none, err
	}
	if mediaType == v1.MediaTypeImageLayer {
		if file.Digest() != want {
			return none, fmt.Errorf("%w: its digest is %s, the image says %s", ErrCorrupt, file.Digest(), want)
		}
		return p.b.Compress(f)
	}
	in, err := layer.Decompress(f, p.s.Options().Limits)
	if err != nil {
		return none, err
	}
	hash := digest.SHA256.Hash()
	_, err = io.Copy(hash, in)
	if err = errors.Join(err, in.Close()); err != nil {
		return none, err
	}
	if got := digest.NewDigest(digest.SHA256, hash); got != want {
		return none, fmt.Errorf("%w: its diff id is %s, the image says %s", ErrCorrupt, got, want)
	}
	p.b.Add(file)
	return v1.Descriptor{MediaType: mediaType, Digest: file.Digest(), Size: file.Size()}, nil
}
