// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/notation"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// layout reads an OCI image layout.
func (p *spool) layout() ([]entered, error) {
	data, err := p.document(v1.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	var idx v1.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, fmt.Errorf("%s: %w", v1.ImageIndexFile, notation.JSON(err))
	}
	const most = 10_000
	if len(idx.Manifests) > most {
		return nil, fmt.Errorf("%s: more than %d images", v1.ImageIndexFile, most)
	}
	var images []entered
	for _, d := range idx.Manifests {
		if store.IsArtifact(d) || !store.IsImage(d) {
			continue
		}
		if err := store.CheckDigest(d.Digest); err != nil {
			return nil, err
		}
		names, err := layoutNames(d)
		if err != nil {
			return nil, err
		}
		kept, ok, err := p.entry(d)
		if err != nil {
			return nil, err
		}
		if ok {
			images = addEntered(images, kept, names)
		}
	}
	all := images
	for _, d := range idx.Manifests {
		if !store.IsArtifact(d) {
			continue
		}
		ok, err := p.artifact(d, images)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, entered{d: d})
		}
	}
	return all, nil
}

func addEntered(all []entered, d v1.Descriptor, names []string) []entered {
	d.Annotations, d.Platform = nil, nil
	at := slices.IndexFunc(all, func(e entered) bool { return e.d.Digest == d.Digest })
	if at < 0 {
		return append(all, entered{d: d, names: names})
	}
	all[at].names = append(all[at].names, names...)
	return all
}

// layoutNames returns the name that an entry of a layout has, if it is a whole
// one: a bare tag names nothing.
func layoutNames(d v1.Descriptor) ([]string, error) {
	name := d.Annotations[annotationImageName]
	if name == "" {
		name = store.RefName(d)
	}
	if name == "" || tagOnly(name) || strings.Contains(name, "@") {
		return nil, nil
	}
	return parseTags([]string{name})
}

// entry takes an image, or those of an index that are there; ok
// is false if none of them is wanted. An index in an index stands for the images
// that it lists.
func (p *spool) entry(d v1.Descriptor) (_ v1.Descriptor, ok bool, err error) {
	if !store.IsIndex(d) {
		ok, err := p.manifest(d)
		return d, ok, err
	}
	all, nested, err := p.members(d, maxNesting)
	switch {
	case err != nil:
		return d, false, err
	case len(all) == 0:
		return d, false, fmt.Errorf("image index %s: %w: none of its images is in the archive", d.Digest, ErrCorrupt)
	case len(all) > store.MaxPlatforms:
		return d, false, fmt.Errorf("image index %s: %d images: at most %d are supported", d.Digest, len(all), store.MaxPlatforms)
	}
	flat := store.NewIndex()
	for _, m := range all {
		ok, err := p.manifest(m)
		if err != nil {
			return d, false, err
		}
		if ok {
			flat.Manifests = append(flat.Manifests, m)
		}
	}
	switch {
	case len(flat.Manifests) < 2:
		return append(flat.Manifests, d)[0], len(flat.Manifests) == 1, nil
	case nested:
		d, err = p.b.JSON(flat, v1.MediaTypeImageIndex)
		return d, true, err
	}
	return d, true, p.blob(d)
}

// maxNesting is how deep indexes may be in each other.
const maxNesting = 4

// members returns the images of an index that are in the archive, and whether
// some are listed by an index in it.
func (p *spool) members(d v1.Descriptor, depth int) (all []v1.Descriptor, nested bool, err error) {
	data, err := p.document(blobName(d.Digest))
	if err != nil {
		return nil, false, err
	}
	idx, err := store.ParseIndex(data)
	if err == nil && depth == 0 {
		err = errors.New("too many indexes in each other")
	}
	if err != nil {
		return nil, false, fmt.Errorf("image index %s: %w", d.Digest, err)
	}
	for _, m := range idx.Manifests {
		if m.Platform == nil {
			m.Platform = d.Platform
		}
		_, there := p.find(blobName(m.Digest))
		switch {
		case there && store.IsIndex(m):
			of, _, err := p.members(m, depth-1)
			if err != nil {
				return nil, false, err
			}
			all, nested = append(all, of...), true
		case there && runnable(m):
			all = append(all, m)
		}
	}
	return all, nested, nil
}

// runnable tells images from attestations, which BuildKit lists beside them.
func runnable(d v1.Descriptor) bool {
	return store.IsManifest(d) && (d.Platform == nil || d.Platform.Architecture != "unknown")
}

// manifest takes an image, if it is wanted.
func (p *spool) manifest(d v1.Descriptor) (ok bool, err error) {
	if err := store.CheckDigest(d.Digest); err != nil {
		return false, err
	}
	data, err := p.document(blobName(d.Digest))
	if err != nil {
		return false, err
	}
	m, err := store.ParseManifest(data)
	if err != nil {
		return false, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	config, err := p.document(blobName(m.Config.Digest))
	if err != nil {
		return false, err
	}
	cfg, err := store.ParseConfig(config, len(m.Layers))
	if err != nil {
		return false, fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	if p.unwanted(cfg) {
		return false, nil
	}
	for _, l := range m.Layers {
		err := p.readable(l)
		if errors.Is(err, layer.ErrXz) {
			err = fmt.Errorf("%w; skopeo converts the image: skopeo copy --dest-compress-format gzip oci-archive:OLD oci-archive:NEW:NAME", err)
		}
		if err != nil {
			return false, fmt.Errorf("layer %s: %w", l.Digest, err)
		}
	}
	return true, p.blobs(d, m)
}

// readable tells a layer that could never be unpacked by its beginning.
func (p *spool) readable(l v1.Descriptor) error {
	file, ok := p.find(blobName(l.Digest))
	if !ok || file.Digest() != l.Digest {
		return nil // in the store already, or found missing or corrupt later
	}
	f, err := file.Open()
	if err != nil {
		return err
	}
	return errors.Join(layer.Readable(f), f.Close())
}
