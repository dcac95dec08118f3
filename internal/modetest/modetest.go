// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package modetest runs a test the three ways that cpc runs: as root, as an
// ordinary user with a subordinate range of ids, and as one without.
//
// A test is run again, by its name, in a process of its own: uid 0 of the host
// or of a user namespace, in a private mount namespace, as code of cpc that
// works on images is. Main must be called by TestMain.
package modetest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

const (
	envMode = "CPC_TEST_MODE"
	// RootBase is the base of the mapping that tests as root are given.
	RootBase = 0x20000000

	// The user that root pretends to be, and its range. They need not exist:
	// the kernel knows numbers only.
	user, firstSub = 61001, 0x21000000
)

// Main is to be called by TestMain.
func Main(m *testing.M) {
	if os.Getenv(envMode) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			panic("make mounts private: " + err.Error())
		}
	}
	os.Exit(m.Run())
}

// Inside reports whether this process is one that Each has started.
func Inside() bool { return os.Getenv(envMode) != "" }

// Each runs f as a subtest for every mode that this caller can have: all three
// as root, the last two as an ordinary user.
func Each(t *testing.T, f func(t *testing.T, m idmap.Mapping)) {
	t.Helper()
	Some(t, []idmap.Mode{idmap.Root, idmap.Mapped, idmap.Single}, f)
}

// Some is Each for some of the modes.
func Some(t *testing.T, modes []idmap.Mode, f func(t *testing.T, m idmap.Mapping)) {
	t.Helper()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			if os.Getenv(envMode) == string(mode) {
				f(t, mapping(mode))
				return
			}
			if mode == idmap.Root && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			again(t, mode)
		})
	}
}

func mapping(mode idmap.Mode) idmap.Mapping {
	switch mode {
	case idmap.Root:
		return idmap.ForRoot(RootBase)
	case idmap.Mapped:
		return idmap.ForMapped()
	case idmap.Single:
	}
	return idmap.ForSingle()
}

// again runs the test once more, as mode.
func again(t *testing.T, mode idmap.Mode) {
	t.Helper()
	var only []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		only = append(only, "^"+regexp.QuoteMeta(part)+"$")
	}
	args := []string{"-test.run=" + strings.Join(only, "/"), "-test.v=true", "-test.count=1"}
	cmd := command(mode, args)
	cmd.Env = append(os.Environ(), envMode+"="+string(mode))
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as %s: %v\n%s", mode, err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("as %s:\n%s", mode, out)
	}
	if testing.Verbose() {
		t.Logf("as %s:\n%s", mode, out)
	}
}

func command(mode idmap.Mode, args []string) *exec.Cmd {
	if mode == idmap.Mapped && os.Geteuid() != 0 {
		// Only newuidmap, which unshare calls, may write such a map.
		unshare := []string{"--user", "--map-root-user", "--map-auto", "--mount", "/proc/self/exe"}
		exe, err := os.Executable()
		if err == nil {
			unshare[len(unshare)-1] = exe
		}
		return exec.Command("unshare", append(unshare, args...)...)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	sys := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.SysProcAttr = sys
	if mode == idmap.Root {
		return cmd
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = user, user
	}
	sys.Cloneflags |= unix.CLONE_NEWUSER
	sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	if mode == idmap.Mapped {
		more := syscall.SysProcIDMap{ContainerID: 1, HostID: firstSub, Size: idmap.Size}
		sys.UidMappings = append(sys.UidMappings, more)
		sys.GidMappings = append(sys.GidMappings, more)
	}
	sys.Credential = &syscall.Credential{NoSetGroups: true}
	return cmd
}
