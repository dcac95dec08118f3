// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// CommitOptions are the options of CommitUpper.
type CommitOptions struct{}

// CommitUpper turns the upper directory of an overlay, which is not mounted
// any more and holds store ids, into a layer, and takes the directory over as
// the unpacked form of it: it is gone afterwards. It must be in the store's
// file system (a scratch directory is). Nothing of the store is collected from
// then on until Close, since only the caller knows what the layer is for.
func (s *Store) CommitUpper(ctx context.Context, upper string, _ CommitOptions) (l LayerDescriptor, err error) {
	changed, err := layer.Changed(upper, s.o.Mapping)
	if err != nil {
		return l, fmt.Errorf("commit %s: %w", upper, err)
	}
	if !changed {
		return LayerDescriptor{Empty: true}, nil
	}
	if err := s.keepGarbage(ctx); err != nil {
		return l, err
	}
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	c, err := newCompressor(w)
	if err != nil {
		return l, err
	}
	if err := s.pack(ctx, c, upper); err != nil {
		return l, errors.Join(err, c.abort())
	}
	if l, err = s.finishLayer(c, upper); err != nil {
		return l, fmt.Errorf("commit %s: %w", upper, err)
	}
	// Left only if the same layer was there already.
	return l, layer.Remove(upper)
}

func (s *Store) pack(ctx context.Context, c *compressor, upper string) error {
	buf := bufio.NewWriterSize(c, 256<<10)
	o := layer.PackOptions{Mapping: s.o.Mapping, Limits: s.o.Limits, Warn: s.o.Warn}
	if err := layer.Pack(ctx, buf, upper, o); err != nil {
		return err
	}
	return buf.Flush()
}
