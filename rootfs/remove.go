// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// Remove removes a name, and with the last name the image and all that
// nothing else needs. An image id, or its start, removes the image with its
// name if it has one at most; with several, that is an error. What was done is
// returned line by line in docker's words ("Untagged: …", "Deleted: …"). The
// error is ErrNotFound or ErrInUse.
func (s *Store) Remove(ctx context.Context, ref string) (removed []string, err error) {
	return s.removeRef(ctx, ref, false)
}

// RemoveForced is Remove that removes an image by its id with all of its
// names, and takes the name off an image that is in use: that stays until
// nothing uses it, without a name.
func (s *Store) RemoveForced(ctx context.Context, ref string) (removed []string, err error) {
	return s.removeRef(ctx, ref, true)
}

func (s *Store) removeRef(ctx context.Context, ref string, force bool) (removed []string, err error) {
	err = s.Shrink(ctx, func(idx *v1.Index) error {
		removed, err = unlink(catalog{s, idx}, s, ref, force)
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
func unlink(c catalog, s *Store, ref string, force bool) ([]string, error) {
	idx := c.idx
	d, err := c.resolve(ref)
	if err != nil {
		return nil, err
	}
	if !store.HasManifest(idx, d.Digest) {
		return nil, fmt.Errorf("%w: it is one of the images of %s: remove that", ErrMember, whoseMember(c, d.Digest))
	}
	names := store.NamesOf(idx, d.Digest)
	name, nameErr := ParseReference(ref)
	byName := nameErr == nil && slices.Contains(names, name)
	if byName && len(names) > 1 {
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool { return store.RefName(m) == name })
		return untagged(name), nil
	}
	if len(names) > 1 && !force {
		return nil, fmt.Errorf("%w (%s): remove them one by one, or all with --force", ErrSeveralNames, strings.Join(familiar(names), ", "))
	}
	removed, err := drop(s, idx, d)
	if errors.Is(err, ErrInUse) && force && byName {
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool { return store.RefName(m) == name })
		store.KeepNameless(idx, d)
		return untagged(name), nil
	}
	if err != nil {
		return nil, err
	}
	return append(untagged(names...), removed), nil
}

// whoseMember names the images for several platforms that a manifest belongs to.
func whoseMember(c catalog, d digest.Digest) string {
	var out []string
	for _, m := range c.idx.Manifests {
		if slices.ContainsFunc(store.MembersOf(c.from, m), func(of v1.Descriptor) bool { return of.Digest == d }) {
			out = append(out, cmp.Or(Familiar(store.RefName(m)), m.Digest.String()))
		}
	}
	return strings.Join(out, ", ")
}

func familiar(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = Familiar(n)
	}
	return out
}

func untagged(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, "Untagged: "+Familiar(n))
	}
	return out
}

// drop takes an image that nobody uses out of the index with all its names,
// and with what is kept about it.
func drop(s *Store, idx *v1.Index, d v1.Descriptor) (line string, err error) {
	about := []digest.Digest{d.Digest}
	id := d.Digest
	if store.IsIndex(d) {
		here, _ := store.Members(s, d) // a damaged image can be removed all the same
		for _, m := range here {
			about = append(about, m.Digest)
		}
	} else if img, err := store.LoadImage(s, d); err == nil {
		id = img.ConfigDigest
	}
	release, err := s.Unused(about)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool { return m.Digest == d.Digest })
	// What is an image by itself, or of another index, keeps what is kept about it.
	about = slices.DeleteFunc(about, func(of digest.Digest) bool { return store.IsThere(s, idx, of) })
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m v1.Descriptor) bool {
		return store.IsArtifact(m) && slices.ContainsFunc(about, func(of digest.Digest) bool { return store.IsAbout(s, m, of) })
	})
	return "Deleted: " + id.String(), nil
}

// Prune removes the images without a name, or with all those that nothing
// uses, where keep does not object. It returns what was removed, in docker's
// words, and how many bytes of blobs that freed.
func (s *Store) Prune(ctx context.Context, all bool, keep func(*Image) bool) (removed []string, freed int64, err error) {
	before, err := s.Usage(ctx)
	if err != nil {
		return nil, 0, err
	}
	err = s.Shrink(ctx, func(idx *v1.Index) error {
		removed = nil
		for _, d := range slices.Clone(idx.Manifests) {
			names := store.NamesOf(idx, d.Digest)
			if !store.IsImage(d) || !store.HasManifest(idx, d.Digest) || len(names) > 0 && !all {
				continue
			}
			img, err := catalog{s, idx}.loadEntry(d, nil)
			if err == nil && keep != nil && keep(img) {
				continue
			}
			line, err := drop(s, idx, d)
			if errors.Is(err, ErrInUse) {
				continue
			}
			if err != nil {
				return err
			}
			removed = append(append(removed, untagged(names...)...), line)
		}
		return nil
	})
	if err == nil {
		err = s.Collect(ctx)
	}
	if err != nil {
		return removed, 0, fmt.Errorf("prune images: %w", err)
	}
	after, err := s.Usage(ctx)
	return removed, max(0, before.Blobs-after.Blobs), err
}
