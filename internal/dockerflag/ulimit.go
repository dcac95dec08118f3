// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Rlimits returns the number of each resource limit by its name RLIMIT_….
func Rlimits() map[string]int {
	return map[string]int{
		"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
		"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
		"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
		"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
		"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
		"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
	}
}

// ParseUlimit parses NAME=SOFT[:HARD]; -1 is unlimited, one number is both.
func ParseUlimit(s string) (specs.POSIXRlimit, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return specs.POSIXRlimit{}, fmt.Errorf("ulimit %q: must be name=soft[:hard]", s)
	}
	r := specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(name)}
	known := slices.Sorted(maps.Keys(Rlimits()))
	if strings.ToLower(name) != name || !slices.Contains(known, r.Type) {
		if near := Nearest(r.Type, known); near != "" {
			return specs.POSIXRlimit{}, fmt.Errorf("ulimit %q: unknown name, did you mean %s?", s, strings.ToLower(near[len("RLIMIT_"):]))
		}
		return specs.POSIXRlimit{}, fmt.Errorf("ulimit %q: unknown name", s)
	}
	soft, hard, two := strings.Cut(value, ":")
	if !two {
		hard = soft
	}
	var err error
	if r.Soft, err = parseLimit(soft); err != nil {
		return specs.POSIXRlimit{}, fmt.Errorf("ulimit %q: %w", s, err)
	}
	if r.Hard, err = parseLimit(hard); err != nil {
		return specs.POSIXRlimit{}, fmt.Errorf("ulimit %q: %w", s, err)
	}
	if r.Soft > r.Hard {
		return specs.POSIXRlimit{}, fmt.Errorf("ulimit %q: the soft limit is above the hard one", s)
	}
	return r, nil
}

func parseLimit(s string) (uint64, error) {
	if s == "-1" || s == "unlimited" {
		return unix.RLIM_INFINITY, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number, -1 or unlimited", s)
	}
	return n, nil
}
