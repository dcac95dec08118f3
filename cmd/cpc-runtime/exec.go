// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"

	"github.com/claude-pocket-console/cpc/runtime"
)

func execCommand() command {
	return command{
		name: "exec", args: "ID COMMAND [ARG...]", min: 1, max: -1, stopAtFirst: true, failure: 255,
		about: "Run another process in a container",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var o runtime.ExecOptions
			execFlags(fs, &o)
			tty := flagAlias(fs, "tty", "t", "give the process a terminal")
			detach := flagAlias(fs, "detach", "d", "do not wait")
			return func(g global, args []string) (int, error) {
				o.Args, o.TTY, o.Detach = args[1:], *tty, *detach
				if (o.ProcessFile == "") == (len(o.Args) == 0) {
					return 0, errors.New("exec: want either a command or --process")
				}
				return g.Exec(args[0], o)
			}
		},
	}
}

func execFlags(fs *flag.FlagSet, o *runtime.ExecOptions) {
	stringAlias(fs, &o.ProcessFile, "process", "p", "run the OCI process in this JSON `file`")
	stringAlias(fs, &o.User, "user", "u", "run as `UID[:GID]`")
	fs.StringVar(&o.Cwd, "cwd", "", "start in this `dir`")
	fs.StringVar(&o.ConsoleSocket, "console-socket", "", "send the terminal's master to the unix socket `path`")
	fs.StringVar(&o.PidfdSocket, "pidfd-socket", "", "send a pidfd of the process to the unix socket `path`")
	fs.StringVar(&o.PidFile, "pid-file", "", "write the process's pid to `file`")
	fs.StringVar(&o.AppArmor, "apparmor", "", "run under this AppArmor `profile`")
	fs.StringVar(&o.ProcessLabel, "process-label", "", "run with this SELinux `label`")
	fs.IntVar(&o.PreserveFDs, "preserve-fds", 0, "pass descriptors 3 to 3+`N`-1 on")
	fs.BoolVar(&o.IgnorePaused, "ignore-paused", false, "also in a paused container")
	listFlag(fs, &o.Env, "add `K=V` to the environment (repeatable)", "env", "e")
	listFlag(fs, &o.Caps, "add this `capability` (repeatable)", "cap", "c")
	listFlag(fs, &o.Cgroups, "run in a cgroup below the container's, `[CONTROLLER:]PATH` (repeatable)", "cgroup")
	for _, name := range []string{"additional-gids", "g"} {
		fs.Var((*gids)(&o.Groups), name, "add this supplementary `GID` (repeatable)")
	}
	fs.Var(optionalBool{&o.NoNewPrivs}, "no-new-privs", "forbid gaining privileges by execve")
}

// gids is a flag that may be given several times.
type gids []uint32

func (g *gids) String() string { return fmt.Sprint([]uint32(*g)) }

func (g *gids) Set(v string) error {
	gid, err := strconv.ParseUint(v, 10, 32)
	if err != nil || gid > 1<<32-2 { // the one above is "no change" to system calls
		return fmt.Errorf("want a number from 0 to %d", uint32(1<<32-2))
	}
	*g = append(*g, uint32(gid))
	return nil
}

// optionalBool is a flag that differs from false when it is not given.
type optionalBool struct{ p **bool }

func (b optionalBool) String() string   { return "" }
func (b optionalBool) IsBoolFlag() bool { return true }

func (b optionalBool) Set(v string) error {
	value, err := strconv.ParseBool(v)
	*b.p = &value
	return err
}
