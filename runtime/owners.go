// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// owners are those of the devices among the caller's standard streams, which
// libcontainer gives to the command's user, /dev/null apart. A device of the host
// is there once, for everybody: but a terminal, it stays whose it was. (Package
// enter does not touch it.)
type owners map[int]uint32

func ownersOfStdio() owners {
	o := owners{}
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		switch kind := st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFBLK, kind == unix.S_IFCHR && !term.IsTerminal(fd):
			o[fd] = st.Uid
		}
	}
	return o
}

// restore gives back what libcontainer gave away.
func (o owners) restore() {
	for fd, uid := range o {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Uid == uid {
			continue
		}
		if err := unix.Fchown(fd, int(uid), -1); err != nil {
			logrus.Warnf("owner of descriptor %d: %v", fd, err)
		}
	}
}
