// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// thread is an operating system thread that is locked for work in other
// namespaces. It ends with stop: one that has been elsewhere cannot come back,
// as an ordinary user may not enter the host's namespace.
//
// There is one for all such work, and not one for each piece of it, because a
// process that was started with a parent-death signal dies with the thread
// that started it (PR_SET_PDEATHSIG(2const)), and Go does not say which thread
// that was.
type thread struct {
	work chan func()
}

func startThread() *thread {
	t := &thread{work: make(chan func())}
	ready := make(chan struct{})
	go t.run(ready)
	<-ready
	return t
}

func (t *thread) run(ready chan<- struct{}) {
	goruntime.LockOSThread() // and never unlocked: Go ends the thread
	if unix.Gettid() == unix.Getpid() {
		// The main thread cannot end, and /proc/self is its view. It is held
		// here until another one has the work.
		defer goruntime.UnlockOSThread()
		other := make(chan struct{})
		go t.run(other)
		<-other
		close(ready)
		return
	}
	close(ready)
	for f := range t.work {
		f()
	}
}

// do runs f on the thread.
func (t *thread) do(f func() error) error {
	done := make(chan error, 1)
	t.work <- func() { done <- f() }
	return <-done
}

func (t *thread) stop() { close(t.work) }

// newNamespace makes a network namespace, owned by the caller's user
// namespace, which lives as long as the file or a socket in it.
//
// Preconditions: CAP_SYS_ADMIN in the caller's user namespace.
func (t *thread) newNamespace() (ns *os.File, err error) {
	err = t.do(func() error {
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
func (t *thread) inside(ns *os.File, f func() error) error {
	return t.do(func() error {
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
