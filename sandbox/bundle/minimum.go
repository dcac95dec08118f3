// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"math"
	"slices"
	"strings"

	units "github.com/docker/go-units"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
)

// kernelPortStart is the first port that any user can listen on, if nobody says more.
const kernelPortStart = 1024

// Weaker returns in what the options let a sandbox do or use more than those of the
// minimum, each by the name of its flag; nothing means that they are at least as strict.
// What may be reached is not looked at: package network composes that.
func (o Options) Weaker(than Options) ([]string, error) {
	out := WeakerLimits(o.Limits, than.Limits)
	say := func(weaker bool, format string, args ...any) {
		if weaker {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	say(o.ShmSize > than.ShmSize, "--shm-size %s (at most %s)", size(o.ShmSize), size(than.ShmSize))
	say(o.Disk > than.Disk, "--disk %s (at most %s)", size(o.Disk), size(than.Disk))
	say(!o.ReadOnly && than.ReadOnly, "--read-only=false")
	say(!o.NoNewPrivileges && than.NoNewPrivileges, "--security-opt no-new-privileges=false")
	say(o.Seccomp != "" && o.Seccomp != than.Seccomp, "--security-opt seccomp=%s", o.Seccomp)
	say(o.AppArmor != "" && o.AppArmor != than.AppArmor, "--security-opt apparmor=%s", o.AppArmor)
	say(len(o.SELinux) > 0 && !slices.Equal(o.SELinux, than.SELinux), "--security-opt label=%s", strings.Join(o.SELinux, ","))
	say(reach(o.Network) > reach(than.Network), "--network %s", o.Network)
	say(portStart(o) < portStart(than), "--sysctl %s=%d (at least %d)", PortStartSysctl, portStart(o), portStart(than))
	say(adjusted(o) < min(adjusted(than), 0), "--oom-score-adj %d", adjusted(o))
	for _, t := range o.Tmpfs {
		say(t.Exec && slices.ContainsFunc(than.Tmpfs, func(m Tmpfs) bool { return m.Path == t.Path && !m.Exec }), "--tmpfs %s:exec", t.Path)
		say(t.Suid && !slices.ContainsFunc(than.Tmpfs, func(m Tmpfs) bool { return m.Path == t.Path && m.Suid }), "--tmpfs %s:suid", t.Path)
	}
	for _, u := range o.Ulimits {
		say(raises(u, than.Ulimits), "--ulimit %s", strings.ToLower(strings.TrimPrefix(u.Type, "RLIMIT_")))
	}
	caps, err := o.moreCaps(than)
	return append(out, caps...), err
}

// WeakerLimits is Weaker for the limits alone.
func WeakerLimits(l, than cgroups.Limits) (out []string) {
	for _, c := range []struct {
		flag    string
		is, may float64
		show    func(float64) string
	}{
		{"--memory", limit(l.Memory), limit(than.Memory), sizeWord},
		{"--memory-swap", swap(l), swap(than), sizeWord},
		{"--cpus", limit(l.Processors()), limit(than.Processors()), plainNumber},
		{"--pids-limit", limit(l.Pids), limit(than.Pids), plainNumber},
	} {
		if c.is > c.may {
			out = append(out, fmt.Sprintf("%s %s (at most %s)", c.flag, c.show(c.is), c.show(c.may)))
		}
	}
	return out
}

// limit is a number of which 0 is none.
func limit[T int64 | float64](n T) float64 {
	if n == 0 {
		return math.Inf(1)
	}
	return float64(n)
}

// swap is what there is of memory and swap together.
func swap(l cgroups.Limits) float64 {
	switch {
	case l.Swap == 0:
		return limit(l.Memory) // no swap on top
	case l.Swap < 0:
		return math.Inf(1)
	}
	return float64(l.Swap)
}

func sizeWord(n float64) string {
	if math.IsInf(n, 1) {
		return "unlimited"
	}
	return units.BytesSize(n)
}

func size(n int64) string { return units.BytesSize(float64(n)) }

func plainNumber(n float64) string {
	if math.IsInf(n, 1) {
		return "unlimited"
	}
	return fmt.Sprintf("%g", n)
}

// reach orders networks by what is reached.
func reach(network string) int {
	return slices.Index([]string{NetworkNone, NetworkAllowlist, NetworkHost}, network)
}

func portStart(o Options) int {
	if o.PortStart == nil {
		return kernelPortStart
	}
	return *o.PortStart
}

func adjusted(o Options) int {
	if o.OOMScoreAdj == nil {
		return 0
	}
	return *o.OOMScoreAdj
}

// raises reports whether a resource limit is above what the minimum says, or above the
// one that a sandbox has of itself, where that keeps users' shares apart.
func raises(u specs.POSIXRlimit, than []specs.POSIXRlimit) bool {
	at := slices.IndexFunc(than, func(m specs.POSIXRlimit) bool { return m.Type == u.Type })
	if at >= 0 {
		return u.Hard > than[at].Hard
	}
	if u.Type == "RLIMIT_CORE" {
		return u.Hard > 0
	}
	return !slices.Contains([]string{"RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_RSS", "RLIMIT_STACK"}, u.Type)
}

// moreCaps returns the capabilities that the minimum does not give.
func (o Options) moreCaps(than Options) (out []string, err error) {
	may, err := than.Capabilities()
	if err != nil {
		return nil, err
	}
	have, err := o.Capabilities()
	if err != nil {
		return nil, err
	}
	asRoot, err := dockerflag.CapSet(than.CapRoot, may, nil)
	if err != nil {
		return nil, err
	}
	root, err := dockerflag.CapSet(o.CapRoot, nil, o.CapDrop)
	if err != nil {
		return nil, err
	}
	for _, c := range have {
		if !slices.Contains(may, c) {
			out = append(out, "--cap-add "+strings.TrimPrefix(c, "CAP_"))
		}
	}
	for _, c := range root {
		if !slices.Contains(asRoot, c) && !slices.Contains(have, c) {
			out = append(out, "--cap-add "+strings.TrimPrefix(c, "CAP_")+" for root")
		}
	}
	return out, nil
}
