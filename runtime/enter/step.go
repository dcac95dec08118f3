// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package enter

import (
	"encoding/binary"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Kind is what a step does, see step.c.
type Kind uint32

// The kinds, as in step.h. Text of each is in brackets. Paths are the
// container's, absolute and clean, unless they are said to be the caller's.
const (
	Join       Kind = iota + 1 // a namespace [the caller's path], Number is its CLONE_NEW*
	Propagate                  // [the caller's path], Number is MS_*
	Parent                     // the mount that a path is in, likewise
	Root                       // [the caller's path]: the root file system from here on
	Mount                      // [type, source, destination, options, propagation], Number of options
	Bind                       // [the caller's path, destination, request for libcontainer's help or "", propagation]
	Device                     // [path], Number is its mode
	Link                       // [target, path]
	Hooks                      // the caller's turn; Number of hooks are not 0
	Pivot                      // to the root
	NullStdio                  // instead of the caller's /dev/null
	Directory                  // [path] that must be there
	Lock                       // a kept mount read-only, Number is its step's
	LockRoot                   // likewise
	Hostname                   // [name]
	Domainname                 // [name]
	Sysctl                     // [path in procfs, value]
	ReadOnly                   // [path]
	Mask                       // [path]
	Loopback                   // up
	Console                    // a new terminal of Major rows and Minor columns; 0 keeps its size
)

// Flags of a step, as in step.h.
const (
	Keep        = 1 << iota // the mount, for a Lock
	CopyMode                // of the directory below, as the mount's first option
	Proc                    // the container's procfs
	ReadOnlyFS              // not only the mount
	Recursive               // Bind
	BindsDevice             // as mknod(2) is not allowed
	Replace                 // what is there
	OrNext                  // step, a Bind, where a Mount is not allowed or there already
	OrMask                  // the destination, if a Bind's source is not there
)

// Step is one thing to do for a container's root file system. It is carried out
// as the container's root.
type Step struct {
	Kind         Kind
	Flags        uint32
	Number       uint32
	Set, Clear   uint64 // MOUNT_ATTR_* of a mount; a Bind without Clear keeps its source's
	Major, Minor uint32 // of a Device; see Console; of a Bind, MOUNT_ATTR_* to set and clear in the whole tree
	UID, GID     uint32
	Text         []string
}

// encode appends struct step of step.h.
func (s *Step) encode(to []byte) []byte {
	e := binary.NativeEndian
	for _, n := range []uint32{uint32(s.Kind), s.Flags, uint32(len(s.Text)), s.Number} {
		to = e.AppendUint32(to, n)
	}
	to = e.AppendUint64(e.AppendUint64(to, s.Set), s.Clear)
	for _, n := range []uint32{s.Major, s.Minor, s.UID, s.GID} {
		to = e.AppendUint32(to, n)
	}
	return to
}

// BeforeHooks begins what a first process reports of a step, if it is given hooks and
// they have not run yet.
const BeforeHooks = "before hooks: "

// NoCommand ends what a process reports that has not found its command, and an errno's
// text follows: EXDEV's if it was found by a relative path of a directory.
const NoCommand = "command: "

// Pass has libcontainer start its init with this plan, in a file that File made.
// The process must pass no other descriptors.
func Pass(p *libcontainer.Process, plan *os.File) {
	p.ExtraFiles = []*os.File{plan}
	p.LogLevel = "plan:3" // the one variable of init's environment that is free
}

// File makes a file of a plan for a container's first process, which the caller
// closes.
func (p *Plan) File() (*os.File, error) {
	data, err := p.encode(0, 3)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "plan")
	if _, err := file.Write(data); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
