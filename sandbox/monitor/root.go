// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
	"github.com/claude-pocket-console/cpc/sandbox/disk"
	"github.com/claude-pocket-console/cpc/sandbox/emulate"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// root is the sandbox's root file system: what it holds of the store, the mounts
// and the disk. openRoot makes all of it, close takes it down.
type root struct {
	path    string         // where the tree is mounted
	stage   string         // a directory of this mount namespace, for what is mounted
	image   v1.ImageConfig // what the image says of the program
	confine confinement
	disk    *record.Disk // nil: nothing is on one
	home    *record.Home // nil: none was made
	places  []string     // of the system, in memory
	binds   []bundle.Bind
	notes   []string // for the person who started the sandbox

	undo cleanups
}

// openRoot unpacks what is not unpacked yet and mounts the root file system. Of a
// root that cannot be had nothing is left. What is unpacked is told to tell.
func openRoot(ctx context.Context, t *Task, tell func(rootfs.Event)) (_ *root, err error) {
	r := &root{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	store, err := rootfs.Open(rootfs.Options{Dir: t.Dirs.Data, Mapping: t.Record.Mapping, Progress: tell})
	if err != nil {
		return nil, err
	}
	r.undo.later(store.Close)
	img, err := store.Image(ctx, t.Record.Asked.ImageDigest)
	if err != nil {
		return nil, err
	}
	r.image = img.Config.Config
	release, err := store.Use(img)
	if err != nil {
		return nil, err
	}
	r.undo.later(func() error { release(); return nil })
	if arch := img.Platform().Architecture; !emulate.Native(arch) {
		if err := emulate.Enable(t.Record.Mapping.Mode, arch); err != nil {
			return nil, fmt.Errorf("the image is for %s: %w", rootfs.FormatPlatform(img.Platform()), err)
		}
	}
	layers, err := store.Layers(ctx, img)
	if err != nil {
		return nil, err
	}
	scratch, err := store.NewScratch(t.Record.ID)
	if err != nil {
		return nil, err
	}
	r.undo.later(func() error { return store.RemoveScratch(t.Record.ID) })
	return r, r.mount(t, layers, scratch)
}

func (r *root) close() error { return r.undo.run() }

// tellUnpacking returns what tells the owner of layers that are unpacked, now and
// then. An owner that does not hear it is found out later.
func tellUnpacking(owner *wire.Conn) func(rootfs.Event) {
	const often = 200 * time.Millisecond
	var sum rootfs.Unpacking
	var told string
	var last time.Time
	return func(e rootfs.Event) {
		what, done, total := sum.Add(e)
		if what == told && time.Since(last) < often {
			return
		}
		told, last = what, time.Now()
		_ = owner.WriteJSON(wire.Busy, wire.BusyBody{What: what, Done: done, Total: total})
	}
}

// mount mounts the root file system and what is on the sandbox's disk.
func (r *root) mount(t *Task, layers []rootfs.Layer, scratch string) (err error) {
	if r.stage, err = userns.Stage(t.Dirs.Data, t.Dirs.State, t.Record.Asked.Runtime, t.Init); err != nil {
		return err
	}
	target := filepath.Join(r.stage, "rootfs")
	if err := os.Mkdir(target, 0o711); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if r.confine, err = planConfinement(t); err != nil {
		return err
	}
	if !confine.SELinuxOn() { // which knows the host's nodes by labels that new ones do not have
		if err := userns.OwnDevices(); err != nil {
			return err
		}
	}
	paths, err := bundle.DiskPaths(*t.options(), r.image)
	if err != nil {
		return err
	}
	dir, err := r.openDisk(t, scratch, paths)
	if err != nil {
		return err
	}
	if dir != "" && !t.options().ReadOnly {
		scratch = filepath.Join(dir, "root")
		if err := os.Mkdir(scratch, 0o700); err != nil {
			return fmt.Errorf("disk: %w", err)
		}
	}
	mounted, err := rootfs.Mount(rootfs.MountOptions{
		Layers: layers, Scratch: scratch, Target: target, Mapping: t.Record.Mapping, Volatile: true, Label: r.confine.labels.Mount,
	})
	if err != nil {
		return err
	}
	r.undo.later(mounted.Close)
	r.path = mounted.Root
	return r.fillDisk(dir, paths, t.Record.Mapping)
}

// openDisk makes the sandbox's disk, where something is to be on it, and
// returns where it is mounted; "" without a disk.
func (r *root) openDisk(t *Task, scratch string, paths []string) (dir string, err error) {
	o := t.options()
	if o.ReadOnly && len(paths) == 0 {
		return "", nil
	}
	dir = filepath.Join(r.stage, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("disk: %w", err)
	}
	d, err := disk.Open(disk.Options{
		Size: o.Disk, Image: filepath.Join(scratch, "disk"), Target: dir, Templates: filepath.Join(t.Dirs.Data, "disks"),
		Root: t.Record.Mapping.Mode == idmap.Root, Upper: !o.ReadOnly, Memory: o.Limits.Memory, Label: r.confine.labels.Mount,
	})
	if err != nil {
		return "", err
	}
	r.undo.later(d.Close)
	r.disk = &record.Disk{Size: d.Size, Tier: string(d.Tier), Paths: paths, Why: d.Why, Asked: o.Disk}
	if !o.ReadOnly {
		r.disk.Paths = append([]string{"/"}, paths...)
	}
	if note := d.Note(); note != "" {
		r.notes = append(r.notes, note)
	}
	return dir, nil
}

// fillDisk makes a directory on the disk for each path, with what the image
// has there, as docker does with volumes.
func (r *root) fillDisk(dir string, paths []string, mapping idmap.Mapping) error {
	for i, p := range paths {
		// Nothing runs in the sandbox yet: its tree stays as it is.
		from, err := securejoin.SecureJoin(r.path, p)
		if err != nil {
			return fmt.Errorf("volume %s: %w", p, err)
		}
		to := filepath.Join(dir, strconv.Itoa(i))
		err = copyTree(from, to)
		if errors.Is(err, fs.ErrNotExist) {
			err = newDirectory(to, p, mapping)
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", p, err)
		}
		r.binds = append(r.binds, bundle.Bind{Source: to, Target: p})
	}
	return nil
}

// newDirectory makes what the image lacks, for the sandbox's root.
func newDirectory(dir, path string, mapping idmap.Mapping) error {
	mode := uint32(0o755)
	if path == bundle.VarTmp {
		mode = 0o1777
	}
	id, err := mapping.ToCaller(0)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Lchown(dir, int(id), int(id)); err != nil {
		return err
	}
	return unix.Chmod(dir, mode)
}
