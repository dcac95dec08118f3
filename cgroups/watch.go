// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what a sandbox ran into.
type Kind string

const (
	// OOMKill: the kernel killed a process for the sandbox's memory limit. With
	// Limits.OOMGroup the whole sandbox is to end: on v2 it is killed with the
	// process; on v1, which has no such switch, its owner has to.
	OOMKill Kind = "oom-kill"
	// PidsMax: a fork failed for the limit of processes.
	PidsMax Kind = "pids-max"
	// Memory80 and Memory95: so many percent of the memory limit are in use,
	// files that could be dropped not counted.
	Memory80 Kind = "memory-80"
	// Memory95 is the second of them.
	Memory95 Kind = "memory-95"
	// CPUThrottled: for some seconds at least half of all periods ended with the
	// CPU limit used up.
	CPUThrottled Kind = "cpu-throttled"
	// MemoryPressure, IOPressure: processes wait for memory or block I/O a large
	// part of the time (PSI, v2 only).
	MemoryPressure Kind = "memory-pressure"
	// IOPressure is the second of them.
	IOPressure Kind = "io-pressure"
)

// Event is something that a limit has done, or is about to do.
type Event struct {
	Kind  Kind   `json:"kind"`
	Count uint64 `json:"count,omitempty"` // OOMKill, PidsMax: since the sandbox was made
	// Limit is what was reached: bytes or processes; 0 if there is none now.
	Limit uint64 `json:"limit,omitempty"`
	// Used is what is in use: bytes, processes, or percent of the time.
	Used uint64 `json:"used,omitempty"`
	// Victim is whom the kernel killed, as far as that is known.
	Victim *Victim `json:"victim,omitempty"`
	// Files is what files in memory (tmpfs, /dev/shm) held after an OOMKill, in bytes: no
	// kill gives that back.
	Files uint64 `json:"files,omitempty"`
}

// Watch reports violations of the limits of the sandbox that pid, its init, is
// in, also of limits that it gets later. The channel is closed when ctx ends, after
// one last look, or when the cgroup is gone. So that nothing is missed: when the
// init has exited, end ctx and read the channel until it is closed, and only then
// let the runtime delete the container. No event blocks, and none of a kind comes
// more often than once a second: a slow reader, or one of a fork bomb, gets sums.
//
// The error is [ErrNoCgroup] for a sandbox without a cgroup of its own.
func (p Plan) Watch(ctx context.Context, pid int) (<-chan Event, error) {
	at, err := p.locate(pid)
	if err != nil {
		return nil, fmt.Errorf("watch limits: %w", err)
	}
	w := &watcher{events: make(chan Event, 16), victims: newWitness(filepath.Base(p.Path)), layout: p.Layout}
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

// counter is one line of an events file, and what goes with it.
type counter struct {
	kind        Kind
	dir         string
	file, key   string
	limit, used string // files in dir
	seen        uint64
	told        time.Time
	changes     *os.File // the file, which poll(2) says has changed; nil: not there
}

// open makes the file one that poll can wait for. It takes none of the user's
// inotify instances, of which there are 128 for all programs of a user.
func (c *counter) open() {
	if c.changes == nil {
		c.changes, _ = os.Open(filepath.Join(c.dir, c.file)) // later, maybe: see add
	}
}

// read reads the file through the descriptor that is waited with, which is how
// the kernel knows that a change has been seen (kernfs_fop_poll).
func (c *counter) read() {
	if c.changes == nil {
		return
	}
	if _, err := c.changes.ReadAt(make([]byte, 1), 0); err != nil && !errors.Is(err, io.EOF) {
		_ = c.changes.Close() // the cgroup is gone
		c.changes = nil
	}
}

// watcher belongs to its goroutine once that runs.
type watcher struct {
	layout   Layout
	dir      string // one of the sandbox's, gone when the sandbox is
	counters []*counter
	levels   levels
	victims  *witness
	events   chan Event
	oom      int // v1: eventfd of memory.oom_control
	control  *os.File
	wake     int // eventfd that the context's end writes
}

// ExplainInotify says which limit an error of inotify(7) is about: the words of the
// kernel, "too many open files" and "no space left on device", name others.
func ExplainInotify(err error) error {
	of := func(name string) string {
		value, _ := os.ReadFile("/proc/sys/fs/inotify/" + name)
		return fmt.Sprintf("fs.inotify.%s (%s), which a user's programs share; an administrator can raise it: sysctl -w fs.inotify.%s=NUMBER",
			name, strings.TrimSpace(string(value)), name)
	}
	switch {
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("%w: the limit is %s", err, of("max_user_instances"))
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: the limit is %s", err, of("max_user_watches"))
	}
	return err
}

func (w *watcher) open(p Plan, at func(string) (string, error)) error {
	w.oom, w.wake = -1, -1
	var err error
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	for _, c := range []string{ctrlPids, ctrlMemory, ctrlCPU} {
		dir, err := at(c)
		if err != nil {
			if needed := p.Limits.needs(); contains(needed, c) {
				return err
			}
			continue // this host has no such controller: nothing to watch
		}
		w.dir = dir
		switch c {
		case ctrlPids:
			w.add(&counter{kind: PidsMax, dir: dir, file: "pids.events", key: "max", limit: "pids.max", used: "pids.current"})
		case ctrlMemory:
			if p.Layout != Unified {
				if err := w.openOOMControl(dir); err != nil {
					return err
				}
			}
			w.addMemory(dir)
		case ctrlCPU:
			w.levels.cpu = dir
		}
	}
	if w.dir == "" {
		return errors.New("no controller to watch")
	}
	return nil
}

func contains(list []string, s string) bool {
	return slices.Contains(list, s)
}

func (w *watcher) addMemory(dir string) {
	w.levels.memory, w.victims.dir = dir, dir
	c := &counter{kind: OOMKill, dir: dir, file: "memory.events", key: "oom_kill", limit: "memory.max", used: "memory.peak"}
	if w.layout != Unified {
		c.file, c.limit, c.used = "memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
	}
	w.add(c)
}

// add has a counter looked at, each second at least: on v2 its file may come only
// later, with a limit; on v1 memory.oom_control tells of no change.
func (w *watcher) add(c *counter) {
	w.counters = append(w.counters, c)
}

// openOOMControl registers for v1's notification (the kernel's memcg_test and
// cgroup-v1/memory documents): it comes when memory has run out, before the
// kill has been counted.
func (w *watcher) openOOMControl(dir string) error {
	var err error
	if w.control, err = os.Open(filepath.Join(dir, "memory.oom_control")); err != nil {
		return err
	}
	if w.oom, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	line := fmt.Sprintf("%d %d", w.oom, w.control.Fd())
	return os.WriteFile(filepath.Join(dir, "cgroup.event_control"), []byte(line), 0)
}

func (w *watcher) close() {
	for _, fd := range []int{w.oom, w.wake} {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing was written through it
		}
	}
	for _, c := range w.counters {
		if c.changes != nil {
			_ = c.changes.Close() // only read from
		}
	}
	if w.control != nil {
		_ = w.control.Close() // only read from
	}
	w.victims.close()
}

const (
	tick      = time.Second            // between two looks
	alertTick = 100 * time.Millisecond // when memory gets scarce
	soonTick  = 20 * time.Millisecond  // after a notification
)

// run sleeps until something is notified, a second at most. After that it looks
// again for half a second, as a notification can come before the counter moves.
func (w *watcher) run(ctx context.Context) {
	again := 0
	for {
		last := ctx.Err() != nil
		alive := w.look(last)
		if !alive || last {
			return
		}
		wait := w.levels.look(time.Now(), w.emit)
		if wait == alertTick {
			w.victims.look()
		}
		if again > 0 {
			wait = soonTick
			again--
		}
		n, err := unix.Poll(w.waiting(), int(wait.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if n > 0 {
			w.victims.look()
			again = 25
			w.drain()
		}
	}
}

// waiting is what run sleeps on.
func (w *watcher) waiting() []unix.PollFd {
	fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}}
	if w.oom >= 0 {
		fds = append(fds, unix.PollFd{Fd: int32(w.oom), Events: unix.POLLIN})
	}
	for _, c := range w.counters {
		if c.open(); c.changes != nil {
			fds = append(fds, unix.PollFd{Fd: int32(c.changes.Fd()), Events: unix.POLLPRI})
		}
	}
	return fds
}

// drain empties the eventfd; what it says is in the files, which look reads.
func (w *watcher) drain() {
	var buf [8]byte
	if w.oom >= 0 {
		_, _ = unix.Read(w.oom, buf[:]) // nothing is there if a file has changed
	}
}

// emit reports whether there was room for the event.
func (w *watcher) emit(e Event) bool {
	select {
	case w.events <- e:
		return true
	default:
		return false
	}
}

// look reports counters that went up, and whether the cgroup still is there. At
// the last look what was held back is told.
func (w *watcher) look(last bool) bool {
	for _, c := range w.counters {
		c.read()
		n := keyed(filepath.Join(c.dir, c.file), c.key)
		if n <= c.seen || !last && c.kind != OOMKill && time.Since(c.told) < tick {
			continue
		}
		e := Event{Kind: c.kind, Count: n, Limit: number(c.dir, c.limit), Used: number(c.dir, c.used)}
		if c.kind == OOMKill {
			e.Victim, e.Files = w.victims.victim(), w.files(c.dir)
		}
		if w.emit(e) {
			c.seen, c.told = n, time.Now()
		}
	}
	_, err := os.Lstat(w.dir)
	return err == nil
}

// files is what files in memory hold, in bytes.
func (w *watcher) files(dir string) uint64 {
	if w.layout == Unified {
		return keyed(filepath.Join(dir, "memory.stat"), "shmem")
	}
	return keyed(filepath.Join(dir, "memory.stat"), "total_shmem")
}

// Hits are how often limits have struck since the sandbox was made.
type Hits struct{ OOMKills, PidsMax uint64 }

// Hits looks at the counters of the sandbox that pid, its init, is in. [Plan.Watch]
// tells of the same a moment later, with more. What cannot be read is 0.
func (p Plan) Hits(pid int) Hits {
	at, err := p.locate(pid)
	if err != nil {
		return Hits{}
	}
	count := func(controller, file, key string) uint64 {
		dir, err := at(controller)
		if err != nil {
			return 0
		}
		return keyed(filepath.Join(dir, file), key)
	}
	kills := "memory.events"
	if p.Layout != Unified {
		kills = "memory.oom_control"
	}
	return Hits{OOMKills: count(ctrlMemory, kills, "oom_kill"), PidsMax: count(ctrlPids, "pids.events", "max")}
}
