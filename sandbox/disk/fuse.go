// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/bounded"
)

// openFUSE mounts the image by fuse2fs.
func (d *Disk) openFUSE(o Options) error {
	if o.Root {
		return errors.New("for users: its server would be root")
	}
	if o.Upper {
		return errors.New("cannot carry a writable root file system, as it has no renames that leave a whiteout")
	}
	if o.Label != "" {
		return errors.New("has no SELinux labels")
	}
	program, err := findProgram("fuse2fs")
	if err != nil {
		return fmt.Errorf("%w (Debian: apt-get install fuse2fs)", err)
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer device.Close() // the server's is the only one then: its end is the connection's
	if err := makeImage(o); err != nil {
		return err
	}
	// The kernel checks permissions; also what other ids than the mounter's
	// may do, which are all in this user namespace or below it.
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", device.Fd())
	if err := unix.Mount("cpc-disk", o.Target, "fuse.fuse2fs", mountFlags, data); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if d.server, err = serve(program, o.Image, device); err == nil {
		_ = device.Close()
		// Answers when the server does, and fails when that has ended.
		var st unix.Statfs_t
		if err = unix.Statfs(o.Target, &st); err == nil {
			return nil
		}
		d.server.stop()
		err = fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(d.server.said.Bytes()))
		d.server = nil
	}
	return errors.Join(err, unix.Unmount(o.Target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
}

// server is a running fuse2fs.
type server struct {
	process *exec.Cmd
	said    *bounded.Buffer
	ended   chan struct{}
}

// serve starts fuse2fs on an open /dev/fuse. The server reads what a sandbox
// has made it write, so it is confined: it has user, mount, pid, network, ipc
// and uts namespaces of its own and thereby no capability over anything, gains
// no privilege by exec, and where the kernel has Landlock it can open no file
// but the image and what programs are made of. It ends with its pid
// namespace's parent, the caller's.
func serve(program, image string, device *os.File) (*server, error) {
	s := &server{said: &bounded.Buffer{Most: 4096}, ended: make(chan struct{})}
	// fakeroot: the checks are the kernel's. The server's own would know
	// nothing of capabilities in the sandbox.
	s.process = exec.Command(program, image, "/dev/fd/3", "-f", "-o", "fakeroot") //nolint:gosec // a system program
	s.process.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	s.process.Dir = "/"
	s.process.ExtraFiles = []*os.File{device}
	s.process.Stdout, s.process.Stderr = s.said, s.said
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	s.process.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: one, GidMappings: one, Setsid: true,
	}
	started := make(chan error)
	go func() {
		// What is set here holds for this thread, which is cloned, and then
		// ends: no other goroutine may have it again.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = restrict(image)
		}
		if err == nil {
			err = s.process.Start()
		}
		started <- err
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		_ = s.process.Wait()
		close(s.ended)
	}()
	return s, nil
}

func (s *server) stop() {
	_ = s.process.Process.Kill()
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second): // the kernel ends it with us
	}
}
