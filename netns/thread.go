// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread that ends with it, so that whatever f does to
// the thread's namespaces is gone with the thread.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // and never unlocked: Go ends the thread
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self is its view. It is
			// held here while another one does the work.
			done <- onThread(f)
			goruntime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// newNamespace makes a network namespace, owned by the caller's user
// namespace, which lives as long as the file or a socket in it.
//
// Preconditions: CAP_SYS_ADMIN in the caller's user namespace.
func newNamespace() (ns *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

// inside runs f in the network namespace.
//
// Preconditions: CAP_SYS_ADMIN in the caller's user namespace and in the one
// that owns ns.
func inside(ns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// OfProcess opens the network namespace of a process, which must not be the
// caller's own.
func OfProcess(pid int) (*os.File, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	if err := notOwn(ns); err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	return ns, nil
}

// notOwn guards against configuring the host: a sandbox's namespace is never
// the one that the caller is in.
func notOwn(ns *os.File) error {
	var theirs, ours unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &theirs); err != nil {
		return err
	}
	if err := unix.Stat("/proc/self/ns/net", &ours); err != nil {
		return err
	}
	if theirs.Dev == ours.Dev && theirs.Ino == ours.Ino {
		return errOwn
	}
	return nil
}
