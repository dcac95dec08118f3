// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package seccomp decides which system calls a sandbox may make: the default
// profile, and profiles that a user wrote in docker's JSON format.
//
// It is pure: it computes the seccomp part of an OCI bundle and loads nothing.
// cpc-runtime compiles the result through libseccomp (package compile) and installs it as the
// last thing before the user's program is executed. It needs no cgo.
//
// # The default profile
//
// It allows what [Allowed] lists, each group with its reason; everything else
// fails with EPERM, other sockets as on a kernel that lacks them. A call by
// another interface than the machine's (32-bit, x32) kills the calling thread. Where it goes further than docker's default profile is
// listed, with the errno, by [Removed]: whoever needs one of those names a
// profile of their own. Capabilities bring back only what is of no use without
// them. System calls newer than the compiling libseccomp get ENOSYS, so that
// programs fall back to an older one (libcontainer sees to that).
//
// # Arguments
//
// A filter sees 64 bits of every argument, the kernel often uses fewer. A rule
// that denied a value by comparing all bits would be evaded by setting an
// unused one, so rules here only ever allow: what they do not match is denied.
package seccomp
