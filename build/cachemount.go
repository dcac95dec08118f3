// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"

	"github.com/claude-pocket-console/cpc/build/files"
)

// takeCaches takes what cache mounts the step wants, each once and always in
// the same order, so that two steps never wait for each other.
func (p *preparer) takeCaches(ctx context.Context, mounts []dockerfile.Mount) error {
	wanted := map[digest.Digest][]*dockerfile.Mount{}
	for i := range mounts {
		m := &mounts[i]
		if m.Type != dockerfile.MountCache {
			continue
		}
		key, err := p.cacheKey(ctx, m)
		if err != nil {
			return fmt.Errorf("--mount=type=cache,target=%s: %w", visible.Line(m.Target), err)
		}
		wanted[key] = append(wanted[key], m)
	}
	p.caches = map[*dockerfile.Mount]*rootfs.CacheMount{}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		same := wanted[key]
		c, err := p.step.stage.b.Store.CacheMount(ctx, key, rootfs.CacheSharing(same[len(same)-1].Sharing))
		if err != nil {
			return err
		}
		p.step.undo = append(p.step.undo, c.Release)
		for _, m := range same {
			p.caches[m] = c
		}
	}
	return nil
}

// cache shows a directory of the store that outlives the build.
func (p *preparer) cache(ctx context.Context, m *dockerfile.Mount) error {
	at, err := p.place()
	if err != nil {
		return err
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	c := p.caches[m]
	if err := rootfs.MountCache(c, at); err != nil {
		return err
	}
	p.step.undo = append(p.step.undo, func() error { return detach(at) })
	t, err := files.OpenWriter(at, p.step.stage.b.Mapping)
	if err != nil {
		return err
	}
	defer t.Close()
	if c.New() {
		if err := p.fill(ctx, m, t); err != nil {
			return err
		}
		if err := c.Filled(); err != nil {
			return err
		}
	}
	if m.Source == "/" || m.From.Kind != dockerfile.FromScratch {
		p.add(m, at)
		return nil
	}
	t.Name = "the cache " + visible.Line(m.ID)
	sub, err := p.place()
	if err != nil {
		return err
	}
	if err := p.step.pin(t.Tree, m.Source, sub); err != nil {
		return err
	}
	p.add(m, sub)
	return nil
}

// cacheKey names the directory: as in BuildKit, a cache that starts with other
// contents or another owner is another one.
func (p *preparer) cacheKey(ctx context.Context, m *dockerfile.Mount) (digest.Digest, error) {
	key := []string{"cache mount", m.ID, strconv.Itoa(int(m.UID)), strconv.Itoa(int(m.GID)), strconv.Itoa(int(m.Perm(0o755)))}
	if m.From.Kind == dockerfile.FromScratch {
		return digest.FromString(strings.Join(key, "\x00")), nil
	}
	b := &binding{op: m}
	sum, err := p.step.openBinding(ctx, b)
	if err != nil {
		return "", err
	}
	p.step.bindings = append(p.step.bindings, b)
	return digest.FromString(strings.Join(append(key, m.Source, sum), "\x00")), nil
}

// fill gives a new cache directory its owner, mode and first contents.
func (p *preparer) fill(ctx context.Context, m *dockerfile.Mount, t *files.Writer) error {
	if m.From.Kind != dockerfile.FromScratch {
		from, err := p.tree(ctx, m)
		if err != nil {
			return err
		}
		entries, err := from.Entries(files.Dot(strings.TrimLeft(m.Source, "/")))
		if err != nil {
			return err
		}
		s := &source{tree: from, entries: entries}
		if !s.isDir() {
			return fmt.Errorf("%s in %s: not a directory", visible.Line(m.Source), from.Name)
		}
		if err := t.Contents(ctx, s.tree, s.entries, "."); err != nil {
			return err
		}
	}
	o := files.Owner{UID: m.UID, GID: m.GID}
	if p.step.stage.b.Mapping.Mode == idmap.Single {
		o = files.Owner{}
	}
	if err := t.SetOwner(".", o); err != nil {
		return err
	}
	return t.Chmod(".", m.Perm(0o755))
}
