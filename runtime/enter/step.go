// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package enter

// #include "caller.h"
// #include "step.h"
import "C"

import (
	"os"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Kind is what a step does, see step.c.
type Kind uint32

// The kinds. Text of each is in brackets. Paths are the
// container's, absolute and clean, unless they are said to be the caller's.
const (
	Join       Kind = C.JOIN       // a namespace [the caller's path], Number is its CLONE_NEW*
	Propagate  Kind = C.PROPAGATE  // [the caller's path], Number is MS_*
	Parent     Kind = C.PARENT     // the mount that a path is in, likewise
	Root       Kind = C.ROOT       // [the caller's path]: the root file system from here on
	Mount      Kind = C.MOUNT      // [type, source, destination, options, propagation], Number of options
	Bind       Kind = C.BIND       // [the caller's path, destination, request for libcontainer's help or "", propagation]
	Device     Kind = C.DEVICE     // [path], Number is its mode
	Link       Kind = C.LINK       // [target, path]
	Hooks      Kind = C.HOOKS      // the caller's turn; Number of hooks are not 0
	Pivot      Kind = C.PIVOT      // to the root
	NullStdio  Kind = C.NULL_STDIO // instead of the caller's /dev/null
	Directory  Kind = C.DIRECTORY  // [path] that must be there
	Lock       Kind = C.LOCK       // a kept mount read-only, Number is its step's
	LockRoot   Kind = C.LOCK_ROOT  // likewise
	Hostname   Kind = C.HOSTNAME   // [name]
	Domainname Kind = C.DOMAINNAME // [name]
	Sysctl     Kind = C.SYSCTL     // [path in procfs, value]
	ReadOnly   Kind = C.READONLY   // [path]
	Mask       Kind = C.MASK       // [path]
	Loopback   Kind = C.LOOPBACK   // up
	Console    Kind = C.CONSOLE    // a new terminal of Major rows and Minor columns; 0 keeps its size
)

// Flags of a step.
const (
	Keep        = C.KEEP       // the mount, for a Lock
	CopyMode    = C.COPY_MODE  // of the directory below, as the mount's first option
	Proc        = C.PROC       // the container's procfs
	ReadOnlyFS  = C.READ_ONLY  // not only the mount
	Recursive   = C.RECURSIVE  // Bind
	BindsDevice = C.NEEDS_BIND // as mknod(2) is not allowed
	Replace     = C.REPLACE    // what is there
	OrNext      = C.OR_NEXT    // step, a Bind, where a Mount is not allowed or there already
	OrMask      = C.OR_MASK    // the destination, if a Bind's source is not there
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

// encode appends it as step.c reads it.
func (s *Step) encode(to []byte) []byte {
	c := C.struct_step{
		kind: C.uint32_t(s.Kind), flags: C.uint32_t(s.Flags), strings: C.uint32_t(len(s.Text)), number: C.uint32_t(s.Number),
		set: C.uint64_t(s.Set), clear: C.uint64_t(s.Clear),
		major: C.uint32_t(s.Major), minor: C.uint32_t(s.Minor), uid: C.uint32_t(s.UID), gid: C.uint32_t(s.GID),
	}
	return append(to, C.GoBytes(unsafe.Pointer(&c), C.sizeof_struct_step)...)
}

// BeforeHooks begins what a first process reports of a step, if it is given hooks and
// they have not run yet.
const BeforeHooks = C.BEFORE_HOOKS

// NoCommand ends what a process reports that has not found its command, and an errno's
// text follows: EXDEV's if it was found by a relative path of a directory.
const NoCommand = C.NO_COMMAND + ": "

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
