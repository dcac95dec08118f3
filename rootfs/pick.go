// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/notation"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// LoadFrom takes one image of an OCI image layout in a directory, without its
// name: that of a tag, of a digest, or the only one.
func (s *Store) LoadFrom(ctx context.Context, dir, which string) (_ *Image, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer root.Close()
	index, err := pickIndex(root, which)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", dir, err)
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- w.CloseWithError(packPicked(root, w, index)) }()
	images, err := s.Load(ctx, r, LoadOptions{})
	if err := errors.Join(err, r.Close(), <-done); err != nil {
		return nil, err
	}
	return images[0], nil
}

// pickIndex is the layout's index with one image alone, without its name.
func pickIndex(root *os.Root, which string) ([]byte, error) {
	f, err := root.Open(v1.ImageIndexFile)
	if err != nil {
		return nil, fmt.Errorf("%w: there is no file %s in the directory", ErrNoArchive, v1.ImageIndexFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, store.MaxDocument))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	var idx v1.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, fmt.Errorf("%s: %w", v1.ImageIndexFile, notation.JSON(err))
	}
	d, err := pick(idx.Manifests, which)
	if err != nil {
		return nil, err
	}
	d.Annotations = nil
	only := store.NewIndex()
	only.Manifests = []v1.Descriptor{d}
	return json.Marshal(only)
}

func pick(all []v1.Descriptor, which string) (v1.Descriptor, error) {
	var found []v1.Descriptor
	for _, d := range all {
		name := store.RefName(d)
		switch {
		case !store.IsImage(d):
		case which == "", d.Digest.String() == which, name == which, strings.HasSuffix(name, ":"+which):
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 0:
		return v1.Descriptor{}, fmt.Errorf("%w: %s", ErrNotFound, which)
	case len(found) > 1:
		return v1.Descriptor{}, fmt.Errorf("%d images match %q: name one by its tag or digest", len(found), which)
	}
	return found[0], nil
}

// packPicked writes the layout with another index.
func packPicked(root *os.Root, w io.Writer, index []byte) error {
	tw := tar.NewWriter(w)
	if err := (tarTarget{tw}).file(v1.ImageIndexFile, int64(len(index)), bytes.NewReader(index)); err != nil {
		return err
	}
	if err := packLayoutFiles(tw, root, false); err != nil {
		return err
	}
	return tw.Close()
}
