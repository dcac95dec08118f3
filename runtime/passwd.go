// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// maxPasswd is the largest /etc/passwd in which a home is looked for, as in
// enter/process.c.
const maxPasswd = 1 << 20

// setHome keeps libcontainer's init from looking for a home in an /etc/passwd that
// is no file, which to open may take for ever, or is far too large. Package enter's
// looks itself.
func (l *launch) setHome(p *libcontainer.Process) {
	if _, missing, err := environment(p.Env); err != nil || !missing {
		return // libcontainer says what is wrong
	}
	if l.passwd().unfit() {
		p.Env = append(p.Env, "HOME=/")
	}
}

// place is a path below a directory that nobody trusts.
type place struct{ root, path string }

// passwd is where the process will find /etc/passwd.
func (l *launch) passwd() place {
	if !l.init {
		state, err := l.container.State()
		if err != nil {
			return place{}
		}
		return place{"/proc/" + strconv.Itoa(state.InitProcessPid) + "/root", "etc/passwd"}
	}
	config := l.container.Config()
	at := place{config.Rootfs, "etc/passwd"}
	for _, m := range config.Mounts {
		switch filepath.Clean(m.Destination) {
		case "/etc/passwd":
			at = place{filepath.Dir(m.Source), filepath.Base(m.Source)}
		case "/etc":
			at = place{m.Source, "passwd"}
		}
	}
	return at
}

// unfit says whether there is something other than a file of a usual size. It opens
// nothing.
func (p place) unfit() bool {
	if p.root == "" || !strings.HasPrefix(p.root, "/") {
		return false
	}
	root, err := unix.Open(p.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(root) }()
	fd, err := unix.Openat2(root, p.path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxPasswd)
}
