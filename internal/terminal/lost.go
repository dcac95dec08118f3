// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Remember returns a function that sets f, if it is a terminal, to how it is
// now, unless it is so still.
func Remember(f *os.File) (restore func()) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}
	}
	return func() {
		now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil && *now != *before {
			_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
		}
	}
}

// Lost reports, once, that one of the files is a terminal that is no longer there.
// It watches until stop is closed.
func Lost(stop <-chan struct{}, files ...*os.File) <-chan struct{} {
	lost := make(chan struct{})
	var fds []unix.PollFd
	for _, f := range files {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		if err == nil || errors.Is(err, unix.EIO) { // EIO: a terminal that is lost already
			fds = append(fds, unix.PollFd{Fd: int32(f.Fd())}) //nolint:gosec // a descriptor; POLLHUP is always told
		}
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil || len(fds) == 0 {
		return lost
	}
	go func() {
		<-stop
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		_ = unix.Close(wake) // poll has it for as long as it needs it
	}()
	go func() {
		fds = append(fds, unix.PollFd{Fd: int32(wake), Events: unix.POLLIN}) //nolint:gosec // a descriptor
		for {
			if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
			for _, fd := range fds {
				switch {
				case fd.Revents == 0:
				case fd.Fd == int32(wake): //nolint:gosec // a descriptor
					return
				case fd.Revents&(unix.POLLHUP|unix.POLLERR) != 0:
					close(lost)
					return
				}
			}
		}
	}()
	return lost
}
