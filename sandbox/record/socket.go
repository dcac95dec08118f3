// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// controlSocket is where a sandbox's monitor listens.
const controlSocket = "control.sock"

// ErrSocket reports something else in the place of a control socket: what is
// asked there would be asked of somebody else, or of nobody.
var ErrSocket = errors.New("not the control socket of this sandbox")

// Listen makes the control socket. Its path may be longer than a socket
// address can be, so the address goes through the directory's descriptor.
func (e *Entry) Listen() (*net.UnixListener, error) {
	var l *net.UnixListener
	err := e.viaDir(func(dir string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: dir + "/" + controlSocket})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// Dial connects to the control socket, which is a socket of the caller's; what else is
// there is an [ErrSocket].
func (e *Entry) Dial() (*net.UnixConn, error) {
	var c *net.UnixConn
	err := e.viaDir(func(dir string) (err error) {
		if err := ownSocket(dir + "/" + controlSocket); err != nil {
			return err
		}
		c, err = net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: dir + "/" + controlSocket})
		return err
	})
	if err == nil {
		if err = ownListener(c); err != nil {
			_ = c.Close() // nothing was asked
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(e.Dir, controlSocket), cause(err))
	}
	return c, nil
}

// cause leaves out of an error the name by which a socket was reached.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	return err
}

// ownSocket returns an error unless path is a socket of the caller's. It does not follow a link.
func ownSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w: a %s", ErrSocket, kindOf(info.Mode()))
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: one of uid %d, not of uid %d", ErrSocket, st.Uid, os.Geteuid())
	}
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "file"
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	}
	return "device"
}

// ownListener returns an error unless it is the caller who listens at the other end.
func ownListener(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var who *unix.Ucred
	if ctlErr := raw.Control(func(fd uintptr) {
		who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctlErr != nil || err != nil {
		return errors.Join(ctlErr, err)
	}
	if int(who.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: one of uid %d, not of uid %d", ErrSocket, who.Uid, os.Geteuid())
	}
	return nil
}

func (e *Entry) viaDir(f func(dir string) error) error {
	d, err := os.OpenFile(e.Dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
}
