// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// system makes the places that programs take to be writable, on one small tmpfs.
func (h *homes) system() error {
	paths := h.options.SystemPaths()
	if len(paths) == 0 {
		return nil
	}
	dir, err := h.root.memory("system", h.options.Space.System)
	if err != nil {
		return err
	}
	for _, p := range paths {
		from, err := securejoin.SecureJoin(h.root.path, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if info, err := os.Lstat(from); from != h.root.path+p || err == nil && !info.IsDir() || errors.Is(err, unix.ENOTDIR) {
			continue // what it links to is what it is, and a file stays one
		}
		to := filepath.Join(dir, filepath.Base(p))
		if err := h.copyPlace(p, from, to); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if p == bundle.Run {
			if err := h.runtimeDir(to); err != nil {
				h.root.note(fmt.Sprintf("the user has no %s/%s: %v", p, bundle.RuntimeDir(h.user.UID), err))
			}
		}
		h.root.places = append(h.root.places, p)
		h.options.Binds = append(h.options.Binds, bundle.Bind{Source: to, Target: p, NoExec: p == bundle.Run})
	}
	return nil
}

// copyPlace copies what the image has at a place, which is little in most.
func (h *homes) copyPlace(p, from, to string) error {
	err := bounded(from, h.options.Space.System/2)
	if err == nil {
		return copyTree(from, to)
	}
	if errors.Is(err, errTooMuch) {
		h.root.note(fmt.Sprintf("the image's files in %s are not in the sandbox, where it is an empty tmpfs: there are %v", p, err))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return newDirectory(to, p, h.mapping)
}

// runtimeDir makes the user's own directory below /run. The links that the image has
// there lead nowhere else.
func (h *homes) runtimeDir(run string) error {
	dir, err := os.OpenRoot(run)
	if err != nil {
		return err
	}
	defer dir.Close()
	zero, err := h.mapping.ToCaller(0)
	if err != nil {
		return err
	}
	uid := h.user.UID
	if h.mapping.Mode == idmap.Single {
		uid = 0 // as it is seen inside
	}
	own := bundle.RuntimeDir(uid)
	if err = dir.Mkdir(path.Dir(own), 0o755); err == nil {
		err = dir.Lchown(path.Dir(own), int(zero), int(zero))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := dir.Mkdir(own, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil // the image's
		}
		return err
	}
	return dir.Lchown(own, h.uid, h.gid)
}
