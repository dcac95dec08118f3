// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/disk"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// What is copied where no overlay can be had, at most. The copy is this process's
// memory, not the sandbox's.
const (
	maxCopied      = 64 << 20
	maxCopiedFiles = 10000
)

// homes makes the writable places of one sandbox's user.
type homes struct {
	root     *root
	options  *bundle.Options // with the binds of the disk
	user     bundle.ResolvedUser
	mapping  idmap.Mapping
	uid, gid int    // the user's, as this process sees them
	why      string // the home is a copy
}

// openHome makes the user's home and the system's places. The user that it returns
// has the home that was made. What the image has in it is there.
//
// Nothing runs in the sandbox yet, so its tree, though hostile, stays as it is.
func (r *root) openHome(o *bundle.Options, user bundle.ResolvedUser, mapping idmap.Mapping) (bundle.Home, bundle.ResolvedUser, error) {
	h := &homes{root: r, options: o, user: user, mapping: mapping}
	h.uid, h.gid = process.CallerIDs(mapping, user)
	if err := h.system(); err != nil {
		return bundle.Home{}, user, err
	}
	home, err := h.open()
	if err == nil && home.Path != "" {
		r.home = &record.Home{Path: home.Path, Kind: string(home.Kind), Size: home.Size, Why: h.why}
	}
	return home, h.user, err
}

// open tries the user's home, and the default one after it.
func (h *homes) open() (bundle.Home, error) {
	if h.options.Space.Home == 0 {
		return bundle.Home{}, nil
	}
	var why []string
	for _, p := range []string{h.user.Home, bundle.DefaultHome} {
		if !h.options.NeedsHome(p) {
			return bundle.Home{}, nil // HOME stays what it is
		}
		at, dir, err := h.place(p)
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %v", p, err))
			continue
		}
		h.user.Home = p
		if !h.options.NeedsHome(at) { // what it links to is writable already
			return bundle.Home{}, nil
		}
		return h.make(at, dir)
	}
	h.root.note("the user has no writable home: " + strings.Join(why, "; "))
	return bundle.Home{}, nil
}

var (
	errNoHome = errors.New("a directory of the system, or none")
	errNoDir  = errors.New("not a directory")
)

// place finds a home in the mounted tree: its path without symbolic links, and the
// directory. It need not exist.
func (h *homes) place(p string) (at, dir string, err error) {
	if !bundle.IsHome(p) {
		return "", "", errNoHome
	}
	dir, err = securejoin.SecureJoin(h.root.path, p)
	if err != nil {
		return "", "", err
	}
	at = "/" + strings.TrimPrefix(strings.TrimPrefix(dir, h.root.path), "/")
	if at != p && !bundle.IsHome(at) && h.options.NeedsHome(at) {
		return "", "", fmt.Errorf("a link to %s", at)
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return at, dir, nil
	case err != nil:
		return "", "", errors.Unwrap(err)
	case !info.IsDir():
		return "", "", errNoDir
	}
	return at, dir, nil
}

// make makes the home at a path that place has found.
func (h *homes) make(at, dir string) (bundle.Home, error) {
	home := bundle.Home{Path: at, Kind: bundle.HomeMemory, Size: h.options.Space.Home}
	if !h.options.ReadOnly {
		home.Kind, home.Size = bundle.HomeRoot, 0
		return home, h.directory(at)
	}
	switch empty, err := isEmpty(dir); {
	case err != nil:
		return home, fmt.Errorf("home %s: %w", at, err)
	case empty && !h.onDisk():
		return home, nil
	}
	scratch, err := h.scratch(home.Size)
	if err != nil {
		return home, fmt.Errorf("home %s: %w", at, err)
	}
	if h.onDisk() {
		home.Size = 0
		if err := h.directory(at); err != nil {
			return home, err
		}
	}
	if home.Kind, home.Source, err = h.fill(at, dir, scratch); err != nil {
		return home, fmt.Errorf("home %s: %w", at, err)
	}
	return home, h.own(home.Source)
}

// onDisk reports whether the home is on the sandbox's disk: the caller has asked for
// one, and it can carry an overlay.
func (h *homes) onDisk() bool {
	d := h.root.disk
	return h.options.DiskAsked && d != nil && d.Tier == string(disk.Loop)
}

// scratch returns a directory for what is written into the home.
func (h *homes) scratch(size int64) (string, error) {
	if h.onDisk() {
		dir := filepath.Join(h.root.stage, "disk", "home")
		return dir, os.Mkdir(dir, 0o711) //nolint:gosec // the sandbox's root passes through it
	}
	return h.root.memory("home", size)
}

// fill shows what the image has in dir, writable, and returns where.
func (h *homes) fill(at, dir, scratch string) (bundle.HomeKind, string, error) {
	target := filepath.Join(h.root.stage, "home.merged")
	if err := os.Mkdir(target, 0o711); err != nil { //nolint:gosec // the sandbox's root passes through it
		return "", "", err
	}
	mounted, noOverlay := rootfs.MountOver(dir, rootfs.MountOptions{
		Scratch: scratch, Target: target, Mapping: h.mapping, Volatile: true, Label: h.root.confine.labels.Mount,
	})
	if noOverlay == nil {
		h.root.undo.later(mounted.Close)
		return bundle.HomeOverlay, mounted.Root, nil
	}
	target, h.why = filepath.Join(scratch, "copy"), noOverlay.Error()
	switch err := bounded(dir, maxCopied); {
	case errors.Is(err, errTooMuch):
		h.root.note(fmt.Sprintf("the image's files in %s are not in the sandbox, whose home is empty: there are %v, and no overlay can be mounted (%v). "+
			"Put the files elsewhere in the image, or use --read-only=false", at, err, noOverlay))
		return bundle.HomeCopy, target, os.Mkdir(target, 0o700)
	case err != nil:
		return "", "", err
	}
	return bundle.HomeCopy, target, copyTree(dir, target)
}

// own makes a directory the user's. One that is not a user's own in the image could
// not even hold the history of a shell.
func (h *homes) own(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != h.uid {
		if err := os.Lchown(dir, h.uid, h.gid); err != nil {
			return err
		}
	}
	return os.Chmod(dir, info.Mode()|0o700)
}

// directory makes a home in the writable root file system. What is missing above it
// is root's.
func (h *homes) directory(at string) error {
	zero, err := h.mapping.ToCaller(0)
	if err != nil {
		return err
	}
	dir, made := h.root.path, false
	for name := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
		dir = filepath.Join(dir, name) // no links in it: place has resolved them
		if err = os.Mkdir(dir, 0o755); err == nil {
			err, made = os.Lchown(dir, int(zero), int(zero)), true
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("home %s: %w", at, err)
		}
	}
	if made {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("home %s: %w", at, err)
		}
	}
	return h.own(dir)
}

// memory mounts a tmpfs below the stage, of this process's mount namespace alone.
func (r *root) memory(name string, size int64) (string, error) {
	dir := filepath.Join(r.stage, name)
	if err := os.Mkdir(dir, 0o711); err != nil { //nolint:gosec // the sandbox's root passes through it
		return "", err
	}
	data := fmt.Sprintf("mode=0711,size=%d", size)
	if label := r.confine.labels.Mount; label != "" {
		data += `,context="` + label + `"`
	}
	if err := unix.Mount("cpc-"+name, dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return "", fmt.Errorf("tmpfs: %w", err)
	}
	r.undo.later(func() error {
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
		return nil
	})
	return dir, nil
}

func (r *root) note(s string) { r.notes = append(r.notes, s) }

// isEmpty reports whether a directory has nothing in it, or does not exist.
func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

var errTooMuch = errors.New("too many files to copy")

// bounded returns errTooMuch for a tree that has more than maxCopiedFiles or bytes.
func bounded(dir string, bytes int64) error {
	files, size := 0, int64(0)
	return filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if files++; info.Mode().IsRegular() {
			size += info.Size()
		}
		if files > maxCopiedFiles || size > bytes {
			return fmt.Errorf("%w, more than %d or %d MiB", errTooMuch, maxCopiedFiles, bytes>>20)
		}
		return nil
	})
}
