// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// CacheSharing says what happens when two build steps want one cache mount.
type CacheSharing string

// The values that Dockerfiles know.
const (
	CacheShared  CacheSharing = "shared"  // both have it
	CachePrivate CacheSharing = "private" // the second gets another
	CacheLocked  CacheSharing = "locked"  // the second waits
)

// CacheMount is a directory that outlives builds, for steps to keep what they
// may download or compute again. It belongs to no image, and its contents are
// whatever hostile steps put there.
type CacheMount struct {
	mapping idmap.Mapping
	dir     string
	lock    *filelock.Lock
	fresh   bool
	how     CacheSharing
}

// maxPrivate is how many copies of one private cache there may be at a time.
const maxPrivate = 1000

// CacheMount returns the directory for key, making it if there is none, and
// keeps it from being pruned until Release.
func (c buildCache) CacheMount(ctx context.Context, key digest.Digest, how CacheSharing) (*CacheMount, error) {
	if err := CheckDigest(key); err != nil {
		return nil, err
	}
	base := c.at.path("mounts", c.at.variant)
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("cache mount: %w", err)
	}
	dir := filepath.Join(base, key.Encoded())
	m := &CacheMount{mapping: c.mapping, dir: dir, how: how}
	var err error
	switch how {
	case CachePrivate:
		err = m.lockPrivate()
	case CacheLocked:
		m.lock, err = filelock.Acquire(ctx, m.dir+".lock", filelock.Exclusive)
	case CacheShared:
		err = m.lockShared(ctx)
	default:
		err = fmt.Errorf("sharing %q: unknown", how)
	}
	if err != nil {
		return nil, fmt.Errorf("cache mount: %w", err)
	}
	if err := m.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("cache mount: %w", err), m.lock.Close())
	}
	return m, nil
}

// lockShared lets one alone make the directory, and all use it.
func (m *CacheMount) lockShared(ctx context.Context) (err error) {
	for {
		if m.lock, err = filelock.Acquire(ctx, m.dir+".lock", filelock.Shared); err != nil {
			return err
		}
		if m.filled() {
			return nil
		}
		if err := m.lock.Close(); err != nil {
			return err
		}
		// It is new: who makes it has it alone until it is filled.
		m.lock, err = filelock.Acquire(ctx, m.dir+".lock", filelock.Exclusive)
		if err != nil || !m.filled() {
			return err
		}
		if err := m.lock.Close(); err != nil {
			return err
		}
	}
}

func (m *CacheMount) lockPrivate() (err error) {
	first := m.dir
	for i := range maxPrivate {
		if i > 0 {
			m.dir = first + "." + strconv.Itoa(i)
		}
		m.lock, err = filelock.Try(m.dir+".lock", filelock.Exclusive)
		if !errors.Is(err, filelock.ErrBusy) {
			return err
		}
	}
	return errors.New("too many steps use it at the same time")
}

// filled reports whether the directory is complete.
func (m *CacheMount) filled() bool {
	_, err := os.Lstat(m.dir + ".filled")
	return err == nil
}

// open makes the directory unless it is complete; what a crash left half-made
// is removed.
func (m *CacheMount) open() error {
	now := time.Now()
	if m.filled() {
		return os.Chtimes(m.dir+".filled", now, now) // for PruneCacheMounts
	}
	m.fresh = true
	if err := layer.Remove(m.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Mkdir(m.dir, 0o755)
}

// New reports whether the directory has just been made. The caller fills it,
// gives it its owner, and says so with Filled.
func (m *CacheMount) New() bool { return m.fresh }

// Filled makes the directory complete.
func (m *CacheMount) Filled() error {
	f, err := ownfile.OpenFile(m.dir+".filled", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cache mount: %w", err)
	}
	if m.fresh = false; m.how == CacheShared {
		err = m.lock.Share()
	}
	return errors.Join(err, f.Close())
}

// Dir is the directory. Its files have store ids.
func (m *CacheMount) Dir() string { return m.dir }

// Mapping is that of the store.
func (m *CacheMount) Mapping() idmap.Mapping { return m.mapping }

// Release gives the directory up. Nothing may be mounted from it any more.
func (m *CacheMount) Release() error { return m.lock.Close() }

// PruneCacheMounts removes those that were not used for so long and that
// nobody uses now, and returns how many bytes that were.
func (c buildCache) PruneCacheMounts(unused time.Duration) (freed int64, err error) {
	marks, err := filepath.Glob(c.at.path("mounts", c.at.variant, "*.filled"))
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, mark := range marks {
		st, err := os.Stat(mark)
		if err != nil || time.Since(st.ModTime()) < unused {
			continue
		}
		n, err := pruneCacheMount(strings.TrimSuffix(mark, ".filled"))
		freed += n
		errs = append(errs, err)
	}
	return freed, errors.Join(errs...)
}

func pruneCacheMount(dir string) (int64, error) {
	lock, err := filelock.Try(dir+".lock", filelock.Exclusive)
	if errors.Is(err, filelock.ErrBusy) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	size := treeSize(dir)
	err = errors.Join(os.Remove(dir+".filled"), layer.Remove(dir))
	return size, errors.Join(err, lock.Remove())
}

// treeSize is the bytes that files below dir take, as far as they can be read.
func treeSize(dir string) int64 {
	var size int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // a size to show, no more
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}
