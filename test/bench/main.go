// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures container runtimes against each other: the same
// bundle, the same operations, one after the other in every round, so that
// whatever else the machine does hits all of them. It prints the median time,
// and the median and quartiles of the ratio to the first runtime in the same
// round.
//
// usage: bench [-n ROUNDS] [-only OPERATION] [-unified] NAME=PROGRAM...
//
// A name that starts with bwrap is driven as bubblewrap. With -unified the
// runtimes see a cgroup v2 without controllers in place of the machine's
// hierarchies, and no limits are set: for a runtime that refuses cgroup v1 with
// v2 beside it (crun). Run as root, it measures as root, then as root of a user
// namespace of an ordinary user, which is how a rootless sandbox's monitor drives
// the runtime, and then as an ordinary user without one. The programs must be
// where that user can reach them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The environment in which this program runs itself again.
const (
	envStage = "CPC_BENCH_STAGE"
	asRoot   = "root"
	asUser   = "rootless" // root of a user namespace
	asPlain  = "user"     // an ordinary user, with only their own id
)

type flags struct {
	rounds  int
	only    string
	unified bool
}

func main() {
	var f flags
	flag.IntVar(&f.rounds, "n", 20, "rounds")
	flag.StringVar(&f.only, "only", "", "measure only this operation")
	flag.BoolVar(&f.unified, "unified", false, "show cgroup v2 only, without limits")
	flag.Parse()
	if err := run(f, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(f flags, args []string) error {
	stage := os.Getenv(envStage)
	if stage == "" {
		return again(asRoot, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL})
	}
	if err := mounts(stage, f.unified); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	runtimes, err := parse(args)
	if err != nil {
		return err
	}
	b, err := newBundle()
	if err != nil {
		return err
	}
	defer b.remove()
	b.stage, b.limits = stage, stage == asRoot && !f.unified
	for _, op := range operations() {
		if f.only != "" && f.only != op.name {
			continue
		}
		s, err := measure(b, op, runtimes, f.rounds)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "\n%s, %s, %d rounds\n%s", stage, op.name, f.rounds, s.table())
	}
	if stage != asRoot {
		return nil
	}
	fmt.Fprintln(os.Stdout, "\nsize of the binary")
	for _, r := range runtimes {
		if info, err := os.Stat(r.program); err == nil {
			fmt.Fprintf(os.Stdout, "  %-14s %6.1f MB\n", r.name, float64(info.Size())/1e6)
		}
	}
	return lessPrivileged()
}

// lessPrivileged measures again without root's rights.
func lessPrivileged() error {
	const user, first = 54321, 200000 // any ordinary user
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: user, Size: 1}, {ContainerID: 1, HostID: first, Size: 65536}}
	err := again(asUser, &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{NoSetGroups: true}, Pdeathsig: unix.SIGKILL,
	})
	if err != nil {
		return err
	}
	return again(asPlain, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: unix.SIGKILL})
}

// again runs this program in further namespaces.
func again(stage string, attr *syscall.SysProcAttr) error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), envStage+"="+stage, "XDG_RUNTIME_DIR=")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, attr
	return cmd.Run()
}

// mounts sees to it that nothing a runtime under test mounts gets out.
func mounts(stage string, unified bool) error {
	if stage == asPlain {
		return nil // done by the one that started this
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if stage == asUser {
		return unix.Mount("proc", "/proc", "proc", flags, "")
	}
	if !unified {
		return nil
	}
	if err := exec.Command("umount", "-R", "-l", "/sys/fs/cgroup").Run(); err != nil {
		return fmt.Errorf("umount /sys/fs/cgroup: %w", err)
	}
	return unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags, "")
}

// contender is one runtime.
type contender struct{ name, program string }

func (c contender) bwrap() bool { return strings.HasPrefix(c.name, "bwrap") }

func parse(args []string) ([]contender, error) {
	var all []contender
	for _, a := range args {
		name, program, ok := strings.Cut(a, "=")
		path, err := exec.LookPath(program)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: want NAME=PROGRAM: %w", a, err)
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		all = append(all, contender{name, path})
	}
	if len(all) == 0 {
		return nil, errors.New("no runtime given")
	}
	return all, nil
}
