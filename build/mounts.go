// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"

	"github.com/claude-pocket-console/cpc/build/files"
)

// Mount is what a step finds at a place of its own: a directory or file that
// is bound there, or a new tmpfs.
type Mount struct {
	Target string
	// Source is what to bind; "" is a tmpfs. No step can change what it names.
	Source   string
	ReadOnly bool
	// Size bounds a tmpfs; 0 is the kernel's default.
	Size int64
}

// binding is the source of a mount once it is open.
type binding struct {
	op     *dockerfile.Mount
	tree   *files.Tree
	source source
}

// openMounts finds what the bind mounts of a RUN show and returns its digest.
func (x *step) OpenMounts(ctx context.Context, run *dockerfile.Exec) (string, error) {
	var sums []string
	for i := range run.Mounts {
		m := &run.Mounts[i]
		if m.Type != dockerfile.MountBind || m.From.Kind == dockerfile.FromScratch {
			continue
		}
		b := &binding{op: m}
		sum, err := x.openBinding(ctx, b)
		if err != nil {
			return "", fmt.Errorf("--mount=type=bind,target=%s: %w", visible.Line(m.Target), err)
		}
		x.bindings = append(x.bindings, b)
		sums = append(sums, sum)
	}
	return strings.Join(sums, " "), nil
}

// openBinding finds the source of one mount. A whole stage or image goes by
// its layers: reading all of its files would take longer than most steps.
func (x *step) openBinding(ctx context.Context, b *binding) (string, error) {
	from := b.op.From
	if b.op.Source == "/" && (from.Kind == dockerfile.FromStage || from.Kind == dockerfile.FromImage) {
		layers, _, err := x.layersOf(ctx, from)
		if err != nil {
			return "", err
		}
		var ids []string
		for _, l := range layers {
			ids = append(ids, l.DiffID.String())
		}
		return digest.FromString(strings.Join(ids, " ")).String(), nil
	}
	var err error
	if b.tree, err = x.openFrom(ctx, from); err != nil {
		return "", err
	}
	p := strings.TrimLeft(b.op.Source, "/")
	entries, err := b.tree.Entries(files.Dot(p))
	if err != nil {
		return "", err
	}
	b.source = source{tree: b.tree, entries: entries}
	return x.digestSources(ctx, []source{b.source})
}

// prepareMounts makes the sources of all mounts and returns them with the
// environment that they bring.
func (x *step) prepareMounts(ctx context.Context, mounts []dockerfile.Mount) ([]Mount, []string, error) {
	p := &preparer{step: x}
	if err := p.takeCaches(ctx, mounts); err != nil {
		return nil, nil, err
	}
	for i := range mounts {
		m := &mounts[i]
		if err := p.prepare(ctx, m); err != nil {
			return nil, nil, fmt.Errorf("--mount=type=%s: %w", m.Type, err)
		}
	}
	return p.mounts, p.env, nil
}

// preparer collects the mounts of one step.
type preparer struct {
	step   *step
	dir    string // scratch directory, made on first use
	memory string // tmpfs for what must not reach a disk
	caches map[*dockerfile.Mount]*rootfs.CacheMount
	count  int
	mounts []Mount
	env    []string
}

func (p *preparer) prepare(ctx context.Context, m *dockerfile.Mount) error {
	switch m.Type {
	case dockerfile.MountTmpfs:
		p.mounts = append(p.mounts, Mount{Target: m.Target, Size: m.Size, ReadOnly: m.ReadOnly})
		return nil
	case dockerfile.MountSecret:
		return p.secret(m)
	case dockerfile.MountSSH:
		return p.agent(m)
	case dockerfile.MountScript:
		return p.file(m, []byte(m.Data), 0o755)
	case dockerfile.MountCache:
		return p.cache(ctx, m)
	case dockerfile.MountBind:
	}
	return p.bind(ctx, m)
}

// place is a new path in a scratch directory of the step.
func (p *preparer) place() (string, error) {
	if p.dir == "" {
		dir, err := p.step.scratch()
		if err != nil {
			return "", err
		}
		p.dir = dir
	}
	p.count++
	return filepath.Join(p.dir, "m"+strconv.Itoa(p.count)), nil
}

func (p *preparer) add(m *dockerfile.Mount, source string) {
	p.mounts = append(p.mounts, Mount{Target: m.Target, Source: source, ReadOnly: m.ReadOnly})
}

// bind shows a part of the context, of a stage or of an image. What a step
// writes there is gone with the step.
func (p *preparer) bind(ctx context.Context, m *dockerfile.Mount) error {
	at, err := p.place()
	if err != nil {
		return err
	}
	if m.From.Kind == dockerfile.FromContext || m.From.Kind == dockerfile.FromNamed {
		i := slices.IndexFunc(p.step.bindings, func(b *binding) bool { return b.op == m })
		source, err := p.copyContext(ctx, &p.step.bindings[i].source, at)
		if err == nil {
			p.add(m, source)
		}
		return err
	}
	t, err := p.tree(ctx, m)
	if err != nil {
		return err
	}
	if err := p.step.pin(t, m.Source, at); err != nil {
		return err
	}
	p.add(m, at)
	return nil
}

// tree is the mounted files of the stage or image that m is of.
func (p *preparer) tree(ctx context.Context, m *dockerfile.Mount) (*files.Tree, error) {
	for _, b := range p.step.bindings {
		if b.op == m && b.tree != nil {
			return b.tree, nil
		}
	}
	if m.From.Kind != dockerfile.FromScratch {
		return p.step.openFrom(ctx, m.From)
	}
	mounted, _, err := p.step.mount(ctx, nil)
	if err != nil {
		return nil, err
	}
	return p.step.mountedTree(mounted, "scratch")
}

// copyContext copies a part of the context to at, as root's: its files on disk
// are the user's own, which the step must not be able to tell or change.
func (p *preparer) copyContext(ctx context.Context, s *source, at string) (string, error) {
	if err := os.Mkdir(at, 0o755); err != nil {
		return "", err
	}
	t, err := files.OpenWriter(at, p.step.stage.b.Mapping)
	if err != nil {
		return "", err
	}
	defer t.Close()
	if err := t.SetOwner(".", files.Owner{}); err != nil {
		return "", err
	}
	if err := t.Chmod(".", 0o755); err != nil {
		return "", err
	}
	t.Latest = p.step.stage.b.epoch
	if s.isDir() {
		return at, t.Contents(ctx, s.tree, s.entries, ".")
	}
	const name = "file"
	return filepath.Join(at, name), t.Put(s.tree, &s.entries[0], name)
}

// pin mounts what is at name in t onto the new path at. The name is resolved
// once, by the kernel, inside of t: whoever changes symlinks there afterwards
// changes nothing any more (CVE-2024-23651).
func (x *step) pin(t *files.Tree, name, at string) (err error) {
	root, err := t.Root.Open(".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	fd, err := openInside(int(root.Fd()), files.Dot(strings.TrimLeft(name, "/")))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%s: %w in %s", visible.Line(name), files.ErrNoSource, t.Name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", visible.Line(name), err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		err = os.Mkdir(at, 0o700)
	case info.Mode().IsRegular():
		err = os.WriteFile(at, nil, 0o600)
	default:
		return fmt.Errorf("%s in %s: not a regular file or directory", visible.Line(name), t.Name)
	}
	if err != nil {
		return err
	}
	return x.bindMount("/proc/self/fd/"+strconv.Itoa(fd), at)
}

// bindMount binds source to at until the step is over.
func (x *step) bindMount(source, at string) error {
	if err := unix.Mount(source, at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	x.undo = append(x.undo, func() error { return detach(at) })
	return nil
}

func detach(at string) error {
	if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", path.Base(at), err)
	}
	return nil
}

// openInside opens name below root, as if root were the root directory.
func openInside(root int, name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range 100 {
		fd, err := unix.Openat2(root, name, &how)
		if err == nil || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN // somebody renames directories all the time
}
