// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// prefix starts the names of temporary users and directories; the pid of the
// test run follows, so that what a dead run has left can be told.
const prefix = "cpc-e2e-"

func userName(pid int, mode string) string {
	return fmt.Sprintf("%s%d-%c", prefix, pid, mode[0])
}

// addUser makes a temporary user, with a range of subordinate ids or without.
func addUser(mode, home string) (uid, gid int, err error) {
	unlock, err := lockUsers()
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	name := userName(os.Getpid(), mode)
	// A system user, because useradd gives those no range by itself.
	if err := admin("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", "/bin/sh", name); err != nil {
		return 0, 0, err
	}
	if mode == mapped {
		first, err := freeRange()
		if err != nil {
			return 0, 0, err
		}
		r := fmt.Sprintf("%d-%d", first, first+65535)
		if err := admin("usermod", "--add-subuids", r, "--add-subgids", r, name); err != nil {
			return 0, 0, err
		}
	}
	entry, err := lookUp("/etc/passwd", name)
	if err != nil {
		return 0, 0, err
	}
	uid, errU := strconv.Atoi(entry[2])
	gid, errG := strconv.Atoi(entry[3])
	return uid, gid, errors.Join(errU, errG)
}

// lockUsers keeps two test runs from choosing the same range.
func lockUsers() (unlock func(), err error) {
	dir, err := os.Open("/etc")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock /etc: %w", err), dir.Close())
	}
	return func() { _ = dir.Close() }, nil
}

// admin runs a program that changes users, again while another one does so.
func admin(name string, args ...string) error {
	var out []byte
	var err error
	testkit.Within(testkit.Patience, func() bool {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err == nil || !strings.Contains(string(out), "try again later")
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
}

// entries returns the lines of a file such as /etc/passwd, split.
func entries(file string) ([][]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all [][]string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if fields := strings.Split(s.Text(), ":"); len(fields) >= 3 {
			all = append(all, fields)
		}
	}
	return all, s.Err()
}

func lookUp(file, name string) ([]string, error) {
	all, err := entries(file)
	for _, e := range all {
		if e[0] == name {
			return e, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("%s: no entry of %s", file, name), err)
}

// freeRange returns the first id above all ranges that are given away.
func freeRange() (int, error) {
	first := 10_000_000
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		all, err := entries(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		for _, e := range all {
			start, errS := strconv.Atoi(e[1])
			count, errC := strconv.Atoi(e[2])
			if errS == nil && errC == nil && start+count < 600_000_000 {
				first = max(first, start+count)
			}
		}
	}
	return first, nil
}

// removeUsers removes the temporary users of a test run and their processes.
func removeUsers(run int) error {
	var errs []error
	for _, mode := range []string{mapped, single} {
		name := userName(run, mode)
		entry, err := lookUp("/etc/passwd", name)
		if err != nil {
			continue
		}
		if uid, err := strconv.Atoi(entry[2]); err == nil {
			killUser(name, uid)
		}
		errs = append(errs, admin("userdel", name))
	}
	return errors.Join(errs...)
}

// killUser ends all processes of a user and of its subordinate ids.
func killUser(name string, uid int) {
	sub, err := lookUp("/etc/subuid", name)
	first := -1
	if err == nil {
		first, _ = strconv.Atoi(sub[1])
	}
	testkit.Within(testkit.Patience, func() bool {
		found := false
		for _, pid := range pids() {
			id, ok := uidOf(pid)
			if ok && (id == uid || first > 0 && id >= first && id < first+65536) {
				found = true
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		return !found
	})
}

func uidOf(pid int) (int, bool) {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d", pid), &st)
	return int(st.Uid), err == nil
}

func pids() []int {
	var all []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// removeStale removes what test runs that were killed have left.
func removeStale() error {
	ofRun := regexp.MustCompile("^" + prefix + `(\d+)-`)
	dead := func(name string) (int, bool) {
		m := ofRun.FindStringSubmatch(name)
		if m == nil {
			return 0, false
		}
		pid, err := strconv.Atoi(m[1])
		return pid, err == nil && !alive(pid)
	}
	var errs []error
	users, err := entries("/etc/passwd")
	if err != nil {
		return err
	}
	for _, e := range users {
		if pid, ok := dead(e[0]); ok {
			errs = append(errs, removeUsers(pid))
		}
	}
	dirs, err := filepath.Glob("/var/tmp/" + prefix + "*")
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if _, ok := dead(filepath.Base(d)); ok {
			errs = append(errs, os.RemoveAll(d))
		}
	}
	return errors.Join(errs...)
}
