// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// layers compares the unpacked layers of images with their blobs. What is damaged
// is unpacked anew.
func (c *checker) layers(ctx context.Context) error {
	all, err := c.unpackedLayers()
	if err != nil {
		return nil //nolint:nilerr // an image that cannot be read has been reported
	}
	for _, l := range all {
		damage, err := c.verifyLayer(ctx, l)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || len(damage) == 0 {
			continue // a blob that is damaged has been reported
		}
		problem := "unpacked files are damaged: " + damage[0]
		if len(damage) > 1 {
			problem += fmt.Sprintf(", and %d more", len(damage)-1)
		}
		err = c.report("layer "+l.DiffID.Encoded(), problem, "unpacked again", func() error { return c.unpackAgain(ctx, l) })
		if err != nil {
			return err
		}
	}
	return nil
}

// unpackedLayers returns those layers of images that are unpacked, each once.
func (c *checker) unpackedLayers() ([]LayerDescriptor, error) {
	idx, err := c.s.Index()
	if err != nil {
		return nil, err
	}
	var out []LayerDescriptor
	seen := make(map[string]bool)
	for _, d := range idx.Manifests {
		if !IsImage(d) {
			continue
		}
		all := []v1.Descriptor{d}
		if IsIndex(d) {
			if all, err = Members(c.s, d); err != nil {
				return nil, err
			}
		}
		for _, m := range all {
			img, err := LoadImage(c.s, m)
			if err != nil {
				continue // reported
			}
			for _, l := range img.LayerDescriptors() {
				if !seen[l.DiffID.Encoded()] && c.s.HaveLayer(l.DiffID) {
					seen[l.DiffID.Encoded()] = true
					out = append(out, l)
				}
			}
		}
	}
	return out, nil
}

func (c *checker) verifyLayer(ctx context.Context, l LayerDescriptor) (damage []string, err error) {
	blob, err := c.s.OpenBlob(l.Descriptor)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	in, err := layer.Decompress(blob, c.s.o.Limits)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return layer.Verify(ctx, in, c.s.layerDir(l.DiffID), c.s.o.Limits)
}

// unpackAgain replaces an unpacked layer that nothing uses.
func (c *checker) unpackAgain(ctx context.Context, l LayerDescriptor) (err error) {
	w, err := c.s.newWorkspace(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := collectLayer(c.s, w, l.DiffID.Encoded()); err != nil {
		return err
	}
	if c.s.HaveLayer(l.DiffID) {
		return fmt.Errorf("%w: a sandbox runs from it: stop that first", ErrInUse)
	}
	_, err = c.s.UnpackLayers(ctx, []LayerDescriptor{l})
	return err
}
