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
	"syscall"

	"github.com/claude-pocket-console/cpc/rootfs"
	"golang.org/x/sys/unix"
)

// mountPoints are what a runtime creates in a root file system so that it can
// mount over it, parents before children.
var mountPoints = []string{
	"dev", "proc", "sys", "etc", "run", "tmp",
	"etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/pts", "dev/shm", "dev/mqueue", "dev/console",
}

// runCommand has the Runner execute the step and takes the mount points out of
// the result that were created for it.
func (w *work) runCommand(ctx context.Context, m *rootfs.Mounted) (err error) {
	b, run := w.stage.b, w.op.Run
	if b.Runner == nil {
		return errors.New("no runner for RUN steps")
	}
	t, err := openTarget(m.Root, b.Mapping)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if _, err := t.mkdirAll(run.Dir); err != nil {
		return fmt.Errorf("working directory %s: %w", visible(run.Dir), err)
	}
	before, err := look(t)
	if err != nil {
		return err
	}
	out := newStepOutput(b.Progress, w.info)
	err = b.Runner.Run(ctx, Step{
		Rootfs: m.Root, Args: run.Args, Env: slices.Concat(run.Env, run.Proxy), Dir: run.Dir, User: run.User,
		Stdout: out, Stderr: out, Mapping: b.Mapping,
	})
	out.flush()
	if err != nil {
		return runHint(ctx, err)
	}
	if w.touched, err = before.strip(t); err != nil {
		return fmt.Errorf("remove mount points: %w", err)
	}
	return nil
}

// runHint says what usual exit codes mean.
func runHint(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	exit, ok := errors.AsType[*ExitError](err)
	if !ok {
		return err
	}
	switch exit.Code {
	case 126:
		return withHint(err, "the command was found but cannot be executed: is it for this machine, and is its x bit set?")
	case 127:
		return withHint(err, "the command was not found: is it installed in this stage, and in PATH?")
	case 137:
		return withHint(err, "the step was killed, most often for want of memory")
	}
	return err
}

// attributes are those of a directory that a mount point's creation leaves.
type attributes struct {
	mode     fs.FileMode
	uid, gid uint32
}

// seen is which mount points there were before a step; nil means none.
type seen map[string]*attributes

// look notes which mount points exist. A symlink counts as existing.
func look(t *target) (seen, error) {
	s := seen{}
	for _, p := range append([]string{"."}, mountPoints...) {
		info, err := t.root.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || escapes(err) {
			s[p] = nil
			if escapes(err) {
				s[p] = &attributes{} // below a symlink that leads away: not ours
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, fmt.Errorf("%s: owner is not known", p)
		}
		s[p] = &attributes{mode: info.Mode(), uid: st.Uid, gid: st.Gid}
	}
	return s, nil
}

// strip removes the mount points that are new and empty, children first, and
// returns the directories they were in that are as they were otherwise.
func (s seen) strip(t *target) ([]string, error) {
	var touched []string
	for _, p := range slices.Backward(mountPoints) {
		if s[p] != nil {
			continue
		}
		info, err := t.root.Lstat(p)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || escapes(err) {
				continue
			}
			return nil, err
		}
		if !info.IsDir() && (!info.Mode().IsRegular() || info.Size() > 0) {
			continue
		}
		err = t.root.Remove(p)
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if dir := path.Dir(p); s[dir] != nil && !slices.Contains(touched, dir) {
			touched = append(touched, dir)
		}
	}
	return s.unchanged(t, touched)
}

func (s seen) unchanged(t *target, dirs []string) ([]string, error) {
	now, err := look(t)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(dirs, func(d string) bool {
		return d == "." || now[d] == nil || *now[d] != *s[d] || !now[d].mode.IsDir()
	}), nil
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
