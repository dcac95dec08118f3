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
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/build/files"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// ExitError is the non-zero end of a RUN step's command.
type ExitError struct {
	// Code is the exit status: 128+n for a command that signal n ended.
	Code int
}

// Error implements error.
func (e *ExitError) Error() string { return fmt.Sprintf("exit code: %d", e.Code) }

// mountPoints are what a runtime creates in a root file system so that it can
// mount over it, parents before children.
var mountPoints = []string{
	"dev", "proc", "sys", "etc", "run", "tmp",
	"run/cpc", "run/cpc/host-ca.crt", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/pts", "dev/shm", "dev/mqueue", "dev/console",
}

// run has the Runner execute the step and takes the mount points out of the
// result that were created for it.
func (x *step) Run(ctx context.Context, run *dockerfile.Exec) (err error) {
	b, m := x.stage.b, x.root
	if b.Runner == nil {
		return errors.New("no runner for RUN steps")
	}
	t, err := files.OpenWriter(m.Root, b.Mapping)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if _, err := t.MkdirAll(run.Dir); err != nil {
		return fmt.Errorf("working directory %s: %w", visible.Line(run.Dir), err)
	}
	if err := x.emulate(); err != nil {
		return err
	}
	mounts, env, err := x.prepareMounts(ctx, run.Mounts)
	if err != nil {
		return err
	}
	stubs, err := findMountStubs(t, mounts)
	if err != nil {
		return err
	}
	network := run.Network
	if network == "" {
		network = b.Network
	}
	out := newRunOutput(b.Progress, x.shown.info)
	err = b.Runner.Run(ctx, Process{
		Rootfs: m.Root, Args: run.Args, Env: slices.Concat(run.Env, run.Proxy, env), Dir: run.Dir, User: run.User,
		Mounts: mounts, Network: network,
		Stdout: out, Stderr: out, Mapping: b.Mapping,
	})
	out.flush()
	if err != nil {
		return out.hint(ctx, err)
	}
	if x.touched, err = stubs.clean(t); err != nil {
		return fmt.Errorf("remove mount points: %w", err)
	}
	return nil
}

// emulate prepares for a step of another platform than this machine's.
func (x *step) emulate() error {
	b, p := x.stage.b, x.stage.plan.Config.Platform
	if p.Architecture == "" || p.Architecture == dockerfile.HostPlatform().Architecture || b.Emulate == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Emulate(p)
}

// hint says what an error of the step means, by its exit code or by what it wrote.
func (o *runOutput) hint(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	exit, ok := errors.AsType[*ExitError](err)
	if !ok {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.distrusted {
		return hint.With(err, certificateHint)
	}
	switch exit.Code {
	case 126:
		return hint.With(err, "the command exists but cannot be executed: check its architecture and its x bit")
	case 127:
		return hint.With(err, "the command was not found: check that it is installed in this stage and in PATH")
	case 137:
		return hint.With(err, "the step was killed; the usual cause is too little memory")
	}
	return err
}

// attributes are those of a directory that a mount point's creation leaves.
type attributes struct {
	mode     fs.FileMode
	uid, gid uint32
}

// mountStubs is what was where mount points go, before a step: by path without
// symlinks, nil for nothing. order has the mount points, parents first.
type mountStubs struct {
	at    map[string]*attributes
	order []string
}

// findMountStubs notes which mount points exist, and what the directories are like that
// they are in. A runtime follows symlinks inside the root file system when it
// makes a mount point, so that is where they are looked for.
func findMountStubs(t *files.Writer, mounts []Mount) (*mountStubs, error) {
	s := &mountStubs{at: map[string]*attributes{}}
	for _, p := range slices.Concat(mountPoints, pathsTo(mounts)) {
		dir, err := t.Resolve(path.Dir(p))
		if err != nil {
			return nil, err
		}
		resolved := path.Join(dir, path.Base(p))
		s.order = append(s.order, resolved)
		for _, p := range []string{dir, resolved} {
			if s.at[p], err = attributesOf(t, p); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// pathsTo is the targets of mounts with the directories on the way, parents
// before children.
func pathsTo(mounts []Mount) []string {
	var out []string
	for _, m := range mounts {
		for p := strings.Trim(m.Target, "/"); p != "" && p != "."; p = path.Dir(p) {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") })
	return out
}

// attributes returns nil if there is nothing at p.
func attributesOf(t *files.Writer, p string) (*attributes, error) {
	info, err := t.Root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("/%s: owner is not known", visible.Line(p))
	}
	return &attributes{mode: info.Mode(), uid: st.Uid, gid: st.Gid}, nil
}

// clean removes the mount points that are new and empty, children first, and
// returns the directories they were in that are as they were otherwise.
func (s *mountStubs) clean(t *files.Writer) ([]string, error) {
	var touched []string
	for _, p := range slices.Backward(s.order) {
		if s.at[p] != nil {
			continue
		}
		removed, err := removeEmpty(t, p)
		if err != nil {
			return nil, err
		}
		if dir := path.Dir(p); removed && s.at[dir] != nil && !slices.Contains(touched, dir) {
			touched = append(touched, dir)
		}
	}
	var same []string
	for _, dir := range touched {
		now, err := attributesOf(t, dir)
		if err != nil {
			return nil, err
		}
		if dir != "." && now != nil && now.mode.IsDir() && *now == *s.at[dir] {
			same = append(same, dir)
		}
	}
	return same, nil
}

// removeEmpty removes an empty file or directory; it leaves all else alone. The
// step may have put symlinks on the way, which os.Root does not let out.
func removeEmpty(t *files.Writer, p string) (bool, error) {
	info, err := t.Root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || files.Escapes(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() && (!info.Mode().IsRegular() || info.Size() > 0) {
		return false, nil
	}
	err = t.Root.Remove(p)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return false, nil
	}
	return err == nil, err
}

// dropCopiedUp removes directories from the upper layer that overlayfs copied
// there for a mount point which is gone again. They hold nothing and are as
// below, so without them the layer says the same. The overlay is not mounted
// any more.
func dropCopiedUp(upper string, dirs []string) error {
	for _, d := range dirs {
		p := filepath.Join(upper, d)
		if isOpaque(p) {
			continue
		}
		err := os.Remove(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	return nil
}

func isOpaque(p string) bool {
	for _, name := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		if n, err := unix.Lgetxattr(p, name, nil); err == nil && n > 0 {
			return true
		}
	}
	return false
}
