// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package runtime is the OCI runtime under a sandbox: it turns a bundle into
// namespaces, mounts, cgroups and a process, through libcontainer.
//
// # Theory of operation
//
// Every call is one short-lived process of cmd/cpc-runtime, driven by a
// supervisor (cpc's monitor, conmon, containerd, a person). Nothing stays
// behind but the container itself and a directory ROOT/ID, which libcontainer
// fills with state.json and, until start, a fifo that the container's init
// waits on. So:
//
//   - create builds everything and ends; the container's init, a re-exec of a
//     sealed copy of this binary with the argument "init", is then a child of
//     the next subreaper or of the pid namespace's init. What init does to get
//     there is done by package enter where a container has nothing unusual, in a
//     sixth of the time, else by libcontainer (quickinit.go). libcontainer's first
//     process starts both and keeps the state;
//   - start opens the fifo, upon which init becomes the user's program;
//   - exec starts another process in the namespaces of that init: where it can, by
//     package enter, which is three times as fast, else by libcontainer (quick.go);
//   - kill signals init, delete removes the cgroup and ROOT/ID.
//
// Before create makes anything else it writes ROOT/ID/intent.json, and it gives
// init a command line with a digest of ROOT/ID. state.json comes last. So whatever a
// SIGKILL at any moment leaves can be found: by state.json, or else by those two.
//
// A process runs one operation and may change its working directory (the
// bundle is read from inside of it), its umask-independent log output and its
// subreaper bit. The package is not meant for long-lived or concurrent use.
//
// # Locks
//
// create, start, delete, pause, resume, update, checkpoint and restore of one id
// exclude each other by flock(2) on ROOT/ID@lock ("@" cannot occur in an id).
// state, list, ps, events, kill and exec take no lock, because hooks that run
// under create's lock may call them. A killed
// process releases its lock; the lock file goes away with the container. Who makes or
// starts a container signs its lock: delete --force ends that process, should the
// lock not be free soon, with all that descends from it.
//
// # A command that cannot be run
//
// libcontainer's init looks the command up as the container's user, in the
// container's root and PATH, before create (or exec) returns. The error then
// is an ErrCommandNotFound or an ErrCommandNotExecutable, cmd/cpc-runtime
// leaves nothing behind, exits 127 or 126, and the last line of stderr (warnings
// may precede it) and of the log ends in `exec: "NAME": executable file not found in $PATH`,
// `exec: "NAME": stat NAME: no such file or directory`,
// `exec: "NAME": permission denied` or
// `exec: "NAME": is a directory: permission denied`.
//
// What only execve(2) itself finds out (a file of another architecture, a
// script without "#!", a missing interpreter, arguments that are too large, a file
// open for writing) is an ErrCommandNotExecutable of start, run or exec, which
// exits 126, and so does the process; its line ends in `exec: "NAME": cause`. As runc, and by
// libcontainer's init, it comes after start has succeeded: init writes
// `exec NAME: exec format error` to the container's stderr and exits 255. A
// container that is started through the reaper (package reaper) exits 126 there.
//
// # Files
//
// Without a terminal the container's stdio is this process's stdio. With one,
// the pseudoterminal's master goes to --console-socket by SCM_RIGHTS. Nothing
// else is inherited but what --preserve-fds names.
//
// # What the caller must see to
//
// The container's root must be able to search every directory above the root
// file system: it is another id than the caller's. (Sources of bind mounts,
// ROOT and the bundle may be closed to it.) A working directory that is missing
// is made, where the container's root may.
//
// Whoever inherits the processes must reap them, those of a detached exec too:
// the kernel keeps a pid namespace's init unfinished, and delete --force waits
// for it in vain, while a zombie is left in that namespace.
//
// In a user namespace with a single id, devpts must be mounted without gid=5
// (there is no such group), and no process can have supplementary groups: both
// are up to who writes the bundle.
package runtime
