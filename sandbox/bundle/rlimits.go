// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What a sandbox gets, at most, of what the kernel counts for a user.
const (
	maxSignals  = 8192    // queued signals and POSIX timers
	maxLocked   = 2 << 20 // bytes, per process; docker's are the daemon's 8 MiB
	maxTerminal = 64      // in its devpts; the host has 3072 for all of them
	leastProcs  = 4096    // where the cgroup limits processes
)

// rlimits returns the sandbox's: no core files, a number of open files that
// does not depend on what cpc itself was started with, and a share of what the
// kernel counts for the user; then what was asked.
func (in *Input) rlimits() ([]specs.POSIXRlimit, error) {
	files := in.hard("RLIMIT_NOFILE", in.files())
	out := []specs.POSIXRlimit{
		{Type: "RLIMIT_CORE"},
		{Type: "RLIMIT_NOFILE", Soft: min(1024, files), Hard: files},
	}
	for _, l := range []struct {
		name string
		n    uint64
	}{
		{"RLIMIT_MEMLOCK", in.hard("RLIMIT_MEMLOCK", 4*maxLocked) / 4},
		{"RLIMIT_MSGQUEUE", in.hard("RLIMIT_MSGQUEUE", 819200) / 4}, // of the kernel's default
		{"RLIMIT_NPROC", in.processes()},
		{"RLIMIT_SIGPENDING", min(in.hard("RLIMIT_SIGPENDING", 8*maxSignals)/8, maxSignals)},
	} {
		if l.n > 0 {
			out = append(out, specs.POSIXRlimit{Type: l.name, Soft: l.n, Hard: l.n})
		}
	}
	for _, u := range in.Ulimits {
		if hard, ok := in.Host.Hard[u.Type]; ok && u.Hard > hard {
			return nil, fmt.Errorf("ulimit %s: the hard limit %s is above the %s of the process that starts the sandbox",
				strings.ToLower(strings.TrimPrefix(u.Type, "RLIMIT_")), limitText(u.Hard), limitText(hard))
		}
		if u.Soft > u.Hard {
			return nil, fmt.Errorf("ulimit %s: the soft limit is above the hard one", u.Type)
		}
		out = slices.DeleteFunc(out, func(r specs.POSIXRlimit) bool { return r.Type == u.Type })
		out = append(out, u)
	}
	return out, nil
}

// files is how many a process may have open: all of the sandbox's together at
// most a quarter of the machine's, but each as many as programs expect.
func (in *Input) files() uint64 {
	if in.Host.Files == 0 || in.Limits.Pids <= 0 {
		return maxOpenFiles
	}
	return min(maxOpenFiles, max(1024, in.Host.Files/4/uint64(in.Limits.Pids)))
}

// hard is the hard limit of who starts the sandbox, at most most.
func (in *Input) hard(name string, most uint64) uint64 {
	if hard, ok := in.Host.Hard[name]; ok {
		return min(hard, most)
	}
	return most
}

// processes is how many an id of the sandbox may have; 0 leaves it. It is what
// holds a fork bomb where no cgroup does (best effort), and a second wall, that
// leaves room for cpc update, where one does.
func (in *Input) processes() uint64 {
	if !in.Host.CountsApart || in.Limits.Pids <= 0 {
		return 0
	}
	n := uint64(in.Limits.Pids)
	if in.Cgroup.Path != "" && !in.missingPids() {
		n = max(leastProcs, 4*n)
	}
	return in.hard("RLIMIT_NPROC", n)
}

func (in *Input) missingPids() bool {
	for _, m := range in.Cgroup.Missing {
		if m.Limit == "pids" {
			return true
		}
	}
	return false
}

// sysctls are that of the network namespace which was asked for, and quotas, where the
// sandbox's user namespace is the only one below the host's: as a user, the one that the
// monitor is in has them.
func (in *Input) sysctls() map[string]string {
	var out map[string]string
	set := func(name, value string) {
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	if in.Mapping.NeedsIDMappedLayers() {
		for _, name := range slices.Sorted(maps.Keys(in.Host.Quotas)) {
			set("user."+name, strconv.FormatUint(in.Host.Quotas[name], 10))
		}
	}
	if in.PortStart != nil && in.Network != NetworkHost {
		set(PortStartSysctl, strconv.Itoa(*in.PortStart))
	}
	return out
}

// PortStartSysctl is the name of the kernel parameter that Options.PortStart sets. It is
// the network namespace's own.
const PortStartSysctl = "net.ipv4.ip_unprivileged_port_start"

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}
