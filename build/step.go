// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	units "github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"

	"github.com/claude-pocket-console/cpc/build/files"
)

// step is one instruction that changes files, while it is executed: its scratch
// directories and mounts. close undoes all of it, whatever became of the step.
type step struct {
	stage   *stage
	op      *dockerfile.Op
	shown   *shown
	sources []source
	from    *files.Tree
	// root is the stage's files, once they are mounted.
	root *rootfs.Mounted
	// bindings are the sources of a RUN's bind mounts.
	bindings []*binding
	// touched are directories that were only changed by making mount points.
	touched []string
	undo    []func() error
	// unread: of a source not the content is here but what is known of it;
	// whole: that does not do.
	unread, whole bool
}

// close undoes what was set up, last first, and goes on past errors.
func (x *step) close() error {
	var errs []error
	for _, undo := range slices.Backward(x.undo) {
		errs = append(errs, undo())
	}
	x.undo = nil
	return errors.Join(errs...)
}

// scratch makes a directory that is gone after the step.
func (x *step) scratch() (string, error) {
	store := x.stage.b.Store
	id := "build-" + rand.Text()
	dir, err := store.NewScratch(id)
	if err != nil {
		return "", fmt.Errorf("make a scratch directory: %w", err)
	}
	x.undo = append(x.undo, func() error { return store.RemoveScratch(id) })
	return dir, nil
}

// mount mounts layers; the mount is gone after the step at latest.
func (x *step) mount(ctx context.Context, descs []rootfs.LayerDescriptor) (*rootfs.Mounted, func() error, error) {
	b := x.stage.b
	layers, err := b.Store.UnpackLayers(ctx, descs)
	if err != nil {
		return nil, nil, err
	}
	scratch, err := x.scratch()
	if err != nil {
		return nil, nil, err
	}
	if len(layers) == 0 {
		empty, err := emptyLayer(scratch, b.Mapping)
		if err != nil {
			return nil, nil, err
		}
		layers = []rootfs.Layer{empty}
	}
	merged := filepath.Join(scratch, "merged")
	if err := os.Mkdir(merged, 0o755); err != nil {
		return nil, nil, err
	}
	m, err := rootfs.Mount(rootfs.MountOptions{
		Layers: layers, Scratch: scratch, Target: merged, Mapping: b.Mapping, StoreUpper: true,
		// Overlayfs syncs every file that it copies up otherwise; the commit
		// makes all of a step durable at once.
		Volatile: true,
	})
	if err != nil {
		return nil, nil, err
	}
	open := true
	unmount := func() error {
		if !open {
			return nil
		}
		open = false
		return m.Close()
	}
	x.undo = append(x.undo, unmount)
	return m, unmount, nil
}

// emptyLayer is what a stage from scratch is mounted on.
func emptyLayer(scratch string, m idmap.Mapping) (rootfs.Layer, error) {
	dir := filepath.Join(scratch, "empty")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return rootfs.Layer{}, err
	}
	root, err := m.ToStore(0)
	if err != nil {
		return rootfs.Layer{}, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return rootfs.Layer{}, err
	}
	return rootfs.Layer{Dir: dir}, os.Chown(dir, int(root), int(root))
}

// await waits for the stages that the step takes files from.
func (x *step) await(ctx context.Context) error {
	for _, f := range x.op.Action.Sources() {
		if f.Kind != dockerfile.FromStage {
			continue
		}
		if _, err := x.stage.b.need(ctx, f.Stage, x.shown); err != nil {
			return err
		}
	}
	return nil
}

// openSources finds what COPY and ADD copy, and returns its digest.
func (x *step) OpenSources(ctx context.Context, c *dockerfile.Copy) (string, error) {
	var err error
	if x.from, err = x.openFrom(ctx, c.From); err != nil {
		return "", err
	}
	if x.sources, err = x.findSources(ctx, x.from, c); err != nil {
		return "", err
	}
	return x.digestSources(ctx, x.sources)
}

// layersOf is the layers of a stage or an image, and what to call it.
func (x *step) layersOf(ctx context.Context, from dockerfile.Origin) ([]rootfs.LayerDescriptor, string, error) {
	b := x.stage.b
	if from.Kind == dockerfile.FromStage {
		s, err := b.need(ctx, from.Stage, x.shown)
		if err != nil {
			return nil, "", err
		}
		name := fmt.Sprintf("stage %d", from.Stage)
		if n := b.plan.File.Stages[from.Stage].Name; n != "" {
			name = "stage " + n
		}
		return s.layers, name, nil
	}
	img, err := b.image(ctx, from.Image, b.plan.Platforms[x.stage.index], x.shown)
	if err != nil {
		return nil, "", fmt.Errorf("--from=%s: %w", visible.Line(from.Image), err)
	}
	return img.LayerDescriptors(), "image " + visible.Line(from.Image), nil
}

func (x *step) openFrom(ctx context.Context, from dockerfile.Origin) (*files.Tree, error) {
	switch from.Kind {
	case dockerfile.FromContext, dockerfile.FromScratch:
		return x.stage.b.context, nil
	case dockerfile.FromNamed:
		return x.stage.b.named[from.Name], nil
	case dockerfile.FromStage, dockerfile.FromImage:
	}
	layers, name, err := x.layersOf(ctx, from)
	if err != nil {
		return nil, err
	}
	m, _, err := x.mount(ctx, layers)
	if err != nil {
		return nil, err
	}
	return x.mountedTree(m, name)
}

// mountedTree opens a mounted root to read from, until the step is over.
func (x *step) mountedTree(m *rootfs.Mounted, name string) (*files.Tree, error) {
	t, err := files.Open(m.Root, name)
	if err != nil {
		return nil, err
	}
	x.undo = append(x.undo, t.Close)
	t.ID, t.Warn = x.stage.b.Mapping.FromCaller, x.stage.b.Progress.Warn
	return t, nil
}

// commit mounts the stage's layers, does the step and commits what it changed.
func (x *step) commit(ctx context.Context) (rootfs.LayerDescriptor, error) {
	var none rootfs.LayerDescriptor
	b := x.stage.b
	layers := x.stage.layers
	if x.op.Action.Linked() {
		layers = nil
	}
	m, unmount, err := x.mount(ctx, layers)
	if err != nil {
		return none, err
	}
	x.root = m
	if err := x.op.Action.Apply(ctx, x); err != nil {
		return none, err
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if err := unmount(); err != nil {
		return none, err
	}
	if err := dropCopiedUp(m.Upper, x.touched); err != nil {
		return none, err
	}
	if err := clampTimes(m.Upper, b.epoch); err != nil {
		return none, err
	}
	x.shown.works("storing the layer")
	return b.Store.CommitUpper(ctx, m.Upper)
}

// clampTimes makes no file of an upper directory younger than the epoch, so
// that a build with SOURCE_DATE_EPOCH gives the same layers again.
func clampTimes(upper string, epoch time.Time) error {
	if epoch.IsZero() {
		return nil
	}
	ts, err := unix.TimeToTimespec(epoch)
	if err != nil {
		return err
	}
	return filepath.WalkDir(upper, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || !info.ModTime().After(epoch) {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// write opens the mounted root to write to.
func (x *step) write(do func(*files.Writer) error) (err error) {
	t, err := files.OpenWriter(x.root.Root, x.stage.b.Mapping)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	t.Warn = x.stage.b.Progress.Warn
	return do(t)
}

// mkdir makes a directory.
func (x *step) Mkdir(_ context.Context, d *dockerfile.Mkdir) error {
	return x.write(func(t *files.Writer) error {
		if d.User != "" {
			made, err := resolveOwner(t.Tree, d.User)
			if isNoAccount(err) { // as in BuildKit; a RUN step would fail
				t.Warn(fmt.Sprintf("USER %s: %v; WORKDIR belongs to root", visible.Line(d.User), err))
				err = nil
			}
			if err != nil {
				return fmt.Errorf("USER %s: %w", visible.Line(d.User), err)
			}
			t.Made.Owner = &made
		}
		_, err := t.MkdirAll(d.Path)
		return err
	})
}

// copy copies the sources, which are open.
func (x *step) Copy(ctx context.Context, c *dockerfile.Copy) error {
	return x.write(func(t *files.Writer) error {
		if c.Chown != "" {
			o, err := resolveOwner(t.Tree, c.Chown)
			if err != nil {
				return fmt.Errorf("--chown=%s: %w", visible.Line(c.Chown), err)
			}
			t.Owner, t.Made.Owner = &o, &o
		}
		if c.Chmod != "" {
			mode, err := dockerfile.ParseMode(c.Chmod)
			if err != nil {
				return err
			}
			t.Mode = mode.Apply
			if bits, ok := mode.Fixed(); ok { // a symbolic one needs bits to start from
				bits &= 0o777 // as in BuildKit
				t.Made.Bits = &bits
			}
		}
		staging := ""
		if c.Add {
			var err error
			if staging, err = x.scratch(); err != nil {
				return err
			}
		}
		t.Latest = x.stage.b.epoch
		x.shown.works("copying files: " + units.HumanSize(float64(contentSize(x.sources))))
		cp := &copier{op: c, target: t, staging: staging, ctx: ctx}
		return cp.copy(x.sources)
	})
}
