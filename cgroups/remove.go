// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removeTimeout is how long killed processes may take to go.
const removeTimeout = 5 * time.Second

// Remove kills what is left in the sandbox's cgroup and removes it. A cgroup that
// does not exist is no error, so Remove can be repeated.
func (p Plan) Remove() error {
	var errs []error
	for _, dir := range p.Dirs {
		if err := p.removeDir(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

func (p Plan) removeDir(dir string) error {
	if !p.owns(dir) {
		return errors.New("not a directory of this plan")
	}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case st.Type != unix.CGROUP_SUPER_MAGIC && st.Type != unix.CGROUP2_SUPER_MAGIC:
		return errors.New("not a cgroup filesystem")
	}
	deadline := time.Now().Add(removeTimeout)
	for {
		if err = kill(dir); err == nil {
			err = rmdirAll(dir)
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// owns guards against a plan that was kept on disk and is not what it was.
func (p Plan) owns(dir string) bool {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return false
	}
	name := filepath.Base(p.Path)
	return strings.HasPrefix(name, Prefix+"-") && filepath.Base(dir) == name
}

// rmdirAll removes dir and the cgroups below it.
func rmdirAll(dir string) error {
	return upwards(dir, 0, func(dir string) error {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// upwards calls do for the cgroups below dir, and for dir last.
func upwards(dir string, depth int, do func(dir string) error) error {
	if depth > 32 {
		return errors.New("nested too deep")
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := upwards(filepath.Join(dir, e.Name()), depth+1, do); err != nil {
				return err
			}
		}
	}
	return do(dir)
}

// kill sends SIGKILL to every process in dir and below.
func kill(dir string) error {
	// v1: a frozen process would die only when thawed, which nobody will do.
	if err := writeIfThere(filepath.Join(dir, "freezer.state"), "THAWED"); err != nil {
		return err
	}
	done, err := killV2(dir)
	if done || err != nil {
		return err
	}
	return upwards(dir, 0, killEach)
}

// killV2 has the kernel do it, atomically (Linux 5.14).
func killV2(dir string) (bool, error) {
	file := filepath.Join(dir, "cgroup.kill")
	if _, err := os.Lstat(file); err != nil {
		return errors.Is(err, os.ErrNotExist) && missing(dir), nil
	}
	return true, writeIfThere(file, "1")
}

func missing(dir string) bool {
	_, err := os.Lstat(dir)
	return errors.Is(err, os.ErrNotExist)
}

func writeIfThere(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if errors.Is(err, unix.ENODEV) { // removed meanwhile
		err = nil
	}
	return errors.Join(err, f.Close())
}

// killEach kills by pid. A pid may have been given to another process since it
// was read: so it is pinned first, and must then still be in the cgroup.
func killEach(dir string) error {
	before, err := procs(dir)
	if err != nil || len(before) == 0 {
		return err
	}
	pinned := map[int]int{}
	defer func() {
		for _, fd := range pinned {
			_ = unix.Close(fd) // a pidfd
		}
	}()
	for _, pid := range before {
		if len(pinned) >= 256 {
			break // the caller comes again
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			pinned[pid] = fd
		}
	}
	after, err := procs(dir)
	if err != nil {
		return err
	}
	for pid, fd := range pinned {
		if slices.Contains(after, pid) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // rmdir tells whether it worked
		}
	}
	return nil
}

// procs returns the processes of a cgroup that are visible from here.
func procs(dir string) ([]int, error) {
	data, err := readBounded(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []int
	for line := range strings.Lines(data) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	return out, nil
}
