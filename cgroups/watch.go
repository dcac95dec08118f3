// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Kind is what a sandbox ran into.
type Kind string

const (
	// OOMKill: the kernel killed a process for the sandbox's memory limit. On
	// v2 the whole sandbox is killed with it; on v1 its owner has to.
	OOMKill Kind = "oom-kill"
	// PidsMax: a fork failed for the limit of processes.
	PidsMax Kind = "pids-max"
)

// Event is a counter that has gone up.
type Event struct {
	Kind  Kind   `json:"kind"`
	Count uint64 `json:"count"` // since the sandbox was made
}

// Watch reports violations of the limits of the sandbox that pid, its init, is
// in. The channel is closed when ctx ends, after one last look, or when the
// cgroup is gone. So that nothing is missed: when the init has exited, end ctx
// and read the channel until it is closed, and only then let the runtime
// delete the container. No event blocks; a slow reader gets sums.
//
// The error is [ErrNoCgroup] for a sandbox without a cgroup of its own.
func (p Plan) Watch(ctx context.Context, pid int) (<-chan Event, error) {
	at, err := p.locate(pid)
	if err != nil {
		return nil, fmt.Errorf("watch limits: %w", err)
	}
	w := &watcher{events: make(chan Event, 16)}
	if err := w.open(p, at); err != nil {
		w.close()
		return nil, fmt.Errorf("watch limits: %w", err)
	}
	written := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(written)
		_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a counter can take it
	})
	go func() {
		w.run(ctx)
		if !stop() {
			<-written // else its descriptor may be another file's by then
		}
		w.close()
		close(w.events)
	}()
	return w.events, nil
}

// counter is one line of an events file.
type counter struct {
	kind      Kind
	file, key string
	seen      uint64
}

// watcher belongs to its goroutine once that runs.
type watcher struct {
	counters []counter
	events   chan Event
	inotify  int // of the events files
	oom      int // v1: eventfd of memory.oom_control
	control  *os.File
	wake     int // eventfd that the context's end writes
	idle     int // how long to sleep without a notification, ms; -1 is for ever
}

func (w *watcher) open(p Plan, at func(string) (string, error)) error {
	w.inotify, w.oom, w.wake, w.idle = -1, -1, -1, -1
	var err error
	if w.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if p.Limits.Pids > 0 {
		if p.Layout != Unified {
			w.idle = 1000 // v1 notifies nobody of pids.events
		}
		if err := w.addFile(at, ctrlPids, counter{kind: PidsMax, file: "pids.events", key: "max"}); err != nil {
			return err
		}
	}
	if p.Limits.Memory == 0 {
		return nil
	}
	if p.Layout == Unified {
		return w.addFile(at, ctrlMemory, counter{kind: OOMKill, file: "memory.events", key: "oom_kill"})
	}
	return w.addOOMControl(at)
}

func (w *watcher) addFile(at func(string) (string, error), controller string, c counter) error {
	dir, err := at(controller)
	if err != nil {
		return err
	}
	c.file = filepath.Join(dir, c.file)
	if _, err := unix.InotifyAddWatch(w.inotify, c.file, unix.IN_MODIFY); err != nil {
		return fmt.Errorf("inotify %s: %w", c.file, err)
	}
	w.counters = append(w.counters, c)
	return nil
}

// addOOMControl registers for v1's notification (the kernel's memcg_test and
// cgroup-v1/memory documents): it comes when memory has run out, before the
// kill has been counted.
func (w *watcher) addOOMControl(at func(string) (string, error)) error {
	dir, err := at(ctrlMemory)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "memory.oom_control")
	if w.control, err = os.Open(file); err != nil {
		return err
	}
	if w.oom, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	line := fmt.Sprintf("%d %d", w.oom, w.control.Fd())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), []byte(line), 0); err != nil {
		return err
	}
	w.counters = append(w.counters, counter{kind: OOMKill, file: file, key: "oom_kill"})
	return nil
}

func (w *watcher) close() {
	for _, fd := range []int{w.inotify, w.oom, w.wake} {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing was written through it
		}
	}
	if w.control != nil {
		_ = w.control.Close() // only read from
	}
}

// run sleeps until something is notified. After that it looks again for half a
// second, as a notification can come before the counter moves.
func (w *watcher) run(ctx context.Context) {
	fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}, {Fd: int32(w.inotify), Events: unix.POLLIN}}
	if w.oom >= 0 {
		fds = append(fds, unix.PollFd{Fd: int32(w.oom), Events: unix.POLLIN})
	}
	again := 0
	for {
		alive := w.look()
		if !alive || ctx.Err() != nil {
			return
		}
		timeout := w.idle
		if again > 0 {
			timeout = 20
			again--
		}
		n, err := unix.Poll(fds, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if n > 0 {
			again = 25
			w.drain()
		}
	}
}

// drain empties the descriptors; what they say is in the files.
func (w *watcher) drain() {
	var buf [4096]byte
	for _, fd := range []int{w.inotify, w.oom} {
		for fd >= 0 {
			if n, err := unix.Read(fd, buf[:]); err != nil || n <= 0 || fd == w.oom {
				break
			}
		}
	}
}

// look reports counters that went up, and whether the cgroup still is there.
func (w *watcher) look() bool {
	for i := range w.counters {
		c := &w.counters[i]
		n := keyed(c.file, c.key)
		if n > c.seen {
			select {
			case w.events <- Event{Kind: c.kind, Count: n}:
				c.seen = n
			default:
			}
		}
	}
	for _, c := range w.counters {
		if _, err := os.Lstat(c.file); err != nil {
			return false
		}
	}
	return true
}
