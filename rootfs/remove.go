// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/filelock"
)

// Remove removes a name, and with the last name the image and all that
// nothing else needs. An image id, or its start, removes the image with its
// name if it has one at most; with several, that is an error. What was done is
// returned line by line in docker's words ("Untagged: …", "Deleted: …"). The
// error is ErrNotFound or ErrInUse.
func (s *Store) Remove(ctx context.Context, ref string) (removed []string, err error) {
	err = s.changeIndex(ctx, func(idx *v1.Index) error {
		removed, err = s.unlink(idx, ref)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("remove image %s: %w", ref, err)
	}
	if err := s.Collect(ctx); err != nil {
		return removed, fmt.Errorf("remove image %s: what it leaves behind: %w", ref, err)
	}
	return removed, nil
}

// unlink takes ref out of the index.
func (s *Store) unlink(idx *v1.Index, ref string) ([]string, error) {
	d, err := s.resolve(idx, ref)
	if err != nil {
		return nil, err
	}
	names := namesOf(idx, d.Digest)
	name, nameErr := ParseReference(ref)
	if nameErr == nil && len(names) > 1 && slices.Contains(names, name) {
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool { return refName(m) == name })
		return []string{"Untagged: " + Familiar(name)}, nil
	}
	if len(names) > 1 {
		return nil, fmt.Errorf("it has several names (%s): remove them one by one", strings.Join(names, ", "))
	}
	lock, err := tryRemove(s.imageLock(d.Digest))
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, fmt.Errorf("%w: a sandbox runs from it: stop that first", ErrInUse)
	}
	id := d.Digest
	if img, err := s.load(d); err == nil {
		id = img.ConfigDigest
	} // a damaged image can be removed all the same
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
		return m.Digest == d.Digest || isArtifact(m) && s.isAbout(m, d.Digest)
	})
	var out []string
	for _, n := range names {
		out = append(out, "Untagged: "+Familiar(n))
	}
	return append(out, "Deleted: "+id.String()), lock.Remove()
}

// Collect removes blobs and unpacked layers that neither an image nor the
// build cache refers to, and that nobody uses. It does nothing while another
// process adds to the store; the next collection does it then.
func (s *Store) Collect(ctx context.Context) (err error) {
	gc, err := filelock.Try(s.path("locks/gc"), filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	live, err := s.mark()
	if err != nil {
		return err
	}
	return errors.Join(s.collectBlobs(live), s.collectLayers(ctx, live))
}
