// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// mounterID is how the overlay's mounter, uid 0 of the caller, appears on disk
// in an idmapped scratch directory: it makes the work directory and whiteouts
// and so must have an id there, and it must not be one of the sandbox's.
const mounterID = idmap.Size

// openDirs are the directories of one overlay, open until it is mounted. As
// overlayfs clones the mounts that it is given, those that were attached only
// for it are detached again at the end.
type openDirs struct {
	files    []*os.File
	mounts   []string
	userns   *os.File
	attachAt string
}

func (d *openDirs) close() error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	for _, m := range d.mounts {
		errs = append(errs, unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW), os.Remove(m))
	}
	if d.userns != nil {
		errs = append(errs, d.userns.Close(), os.Remove(d.attachAt))
	}
	return errors.Join(errs...)
}

// open returns a short path of the directory for mount(2).
func (d *openDirs) open(dir string, idmapped bool) (string, error) {
	if idmapped {
		at, err := d.attach(dir)
		if err != nil {
			return "", err
		}
		dir = at
	}
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	d.files = append(d.files, f)
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())), nil
}

// startMapping prepares attach: ids 0 to Size-1 on disk appear as the
// mapping's range; dir is made, to attach mounts in.
func (d *openDirs) startMapping(m idmap.Mapping, dir string) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	d.attachAt = dir
	if d.userns, err = newUserns(m); err != nil {
		return errors.Join(fmt.Errorf("user namespace for idmapped mounts: %w", err), os.Remove(dir))
	}
	return nil
}

// attach mounts dir once more, idmapped, and returns where.
func (d *openDirs) attach(dir string) (at string, err error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("open_tree: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(d.userns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return "", fmt.Errorf("mount_setattr: %w: idmapped mounts need Linux 5.19 and a file system that supports them (ext4, xfs, btrfs, tmpfs since 6.3)", err)
	}
	at = filepath.Join(d.attachAt, strconv.Itoa(len(d.mounts)))
	if err := os.Mkdir(at, 0o700); err != nil {
		return "", err
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return "", errors.Join(fmt.Errorf("move_mount: %w", err), os.Remove(at))
	}
	d.mounts = append(d.mounts, at)
	return at, nil
}

// newUserns returns a user namespace that maps as the idmapped mounts shall. A
// namespace needs a process to be made: one that is traced, so that it stops
// before it runs anything, and is killed.
func newUserns(m idmap.Mapping) (_ *os.File, err error) {
	maps := []syscall.SysProcIDMap{
		{ContainerID: 0, HostID: int(m.Base), Size: int(m.Size)},
		{ContainerID: mounterID, HostID: 0, Size: 1},
	}
	pidfd := -1
	p, err := os.StartProcess("/proc/self/exe", []string{"cpc-userns"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: maps, GidMappings: maps,
		Ptrace: true, Pdeathsig: syscall.SIGKILL, PidFD: &pidfd,
	}})
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = p.Kill()
		_, waitErr := p.Wait()
		if errors.Is(waitErr, unix.ECHILD) {
			waitErr = nil // pid 1 of a sandbox waits for all its children elsewhere
		}
		if pidfd >= 0 {
			waitErr = errors.Join(waitErr, unix.Close(pidfd))
		}
		err = errors.Join(err, waitErr)
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
}
