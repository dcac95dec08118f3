// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// docker reads an archive of docker, before version 25 or podman's.
func (p *spool) docker(ctx context.Context) ([]entered, error) {
	data, err := p.document(dockerManifestFile)
	if err != nil {
		return nil, err
	}
	var all []dockerImage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", dockerManifestFile, err)
	}
	var out []entered
	for _, img := range all {
		names, err := parseTags(img.RepoTags)
		if err != nil {
			return nil, err
		}
		d, ok, err := p.dockerImage(ctx, img)
		if err != nil {
			return nil, err
		}
		if ok {
			out = addEntered(out, d, names)
		}
	}
	return out, nil
}

// dockerImage moves an image into the store, if it is wanted.
func (p *spool) dockerImage(ctx context.Context, img dockerImage) (_ v1.Descriptor, ok bool, err error) {
	none := v1.Descriptor{}
	config, err := p.document(img.Config)
	if err != nil {
		return none, false, err
	}
	if len(img.Layers) > maxLayers {
		return none, false, fmt.Errorf("%d layers: at most %d are supported", len(img.Layers), maxLayers)
	}
	cfg, err := parseConfig(config, len(img.Layers))
	if err != nil {
		return none, false, fmt.Errorf("configuration %s: %w", img.Config, err)
	}
	if p.unwanted(cfg) {
		return none, false, nil
	}
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	m.SchemaVersion = 2
	for i, name := range img.Layers {
		d, err := p.dockerLayer(ctx, name, cfg.RootFS.DiffIDs[i])
		if err != nil {
			return none, false, fmt.Errorf("layer %s: %w", name, err)
		}
		m.Layers = append(m.Layers, d)
	}
	if m.Config, err = p.s.putDocument(ctx, config, v1.MediaTypeImageConfig); err != nil {
		return none, false, err
	}
	d, err := p.s.putJSON(ctx, m, v1.MediaTypeImageManifest)
	return d, true, err
}

// dockerLayer takes a layer of docker's archive, which says no more of it than
// its diff id. One that is compressed stays as it is, others are compressed.
func (p *spool) dockerLayer(ctx context.Context, name string, want digest.Digest) (_ v1.Descriptor, err error) {
	none := v1.Descriptor{}
	file, ok := p.find(name)
	if !ok {
		return none, fmt.Errorf("%w: it is missing from the archive", ErrCorrupt)
	}
	f, err := os.Open(p.place(file))
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
		if file.digest != want {
			return none, fmt.Errorf("%w: its digest is %s, the image says %s", ErrCorrupt, file.digest, want)
		}
		return p.compress(ctx, f)
	}
	in, err := layer.Decompress(f, p.s.o.Limits)
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
	return v1.Descriptor{MediaType: mediaType, Digest: file.digest, Size: file.size}, p.adopt(file)
}

func (p *spool) compress(ctx context.Context, r io.Reader) (_ v1.Descriptor, err error) {
	w, err := p.s.newWorkspace(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	c, err := newCompressor(w)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := io.CopyBuffer(c, r, make([]byte, 1<<20)); err != nil {
		return v1.Descriptor{}, errors.Join(err, c.abort())
	}
	l, err := c.finish(p.s)
	return l.Descriptor, err
}
