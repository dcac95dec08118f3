// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
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
