// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Look mounts an image for as long as look takes, unpacking it where it is not
// yet. Nothing that is opened by way of the root can be outside of the image.
//
// Preconditions: those of Mount.
func (s *Store) Look(ctx context.Context, img *Image, look func(*os.Root) error) (err error) {
	release, err := s.Use(img)
	if err != nil {
		return err
	}
	defer release()
	layers, err := s.Layers(ctx, img)
	if err != nil {
		return err
	}
	if len(layers) == 0 {
		return fmt.Errorf("look into image %s: it has no layers", img.Digest)
	}
	id := "look-" + rand.Text()
	scratch, remove, err := lookScratch(s, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	target := filepath.Join(scratch, "merged")
	if err := os.Mkdir(target, 0o700); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	m, err := Mount(MountOptions{Layers: layers, Scratch: scratch, Target: target, Mapping: s.Options().Mapping, Volatile: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	root, err := os.OpenRoot(m.Root)
	if err != nil {
		return err
	}
	return errors.Join(look(root), root.Close())
}
