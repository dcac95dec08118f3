// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
)

// TestWeaker changes one option at a time: what a sandbox can do more is found, and what
// it can do less is not.
func TestWeaker(t *testing.T) {
	core := func(hard uint64) []specs.POSIXRlimit { return []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Hard: hard}} }
	for name, c := range map[string]struct {
		change, least func(*Options)
		want          string
	}{
		"nothing":              {},
		"memory":               {change: func(o *Options) { o.Limits.Memory = 3 << 30 }, want: "--memory 3GiB (at most 2GiB); --memory-swap 3GiB (at most 2GiB)"},
		"no memory limit":      {change: func(o *Options) { o.Limits.Memory = 0 }, want: "--memory unlimited (at most 2GiB); --memory-swap unlimited (at most 2GiB)"},
		"less memory":          {change: func(o *Options) { o.Limits.Memory = 1 << 30 }},
		"swap":                 {change: func(o *Options) { o.Limits.Swap = -1 }, want: "--memory-swap unlimited (at most 2GiB)"},
		"swap that may be":     {change: func(o *Options) { o.Limits.Swap = 3 << 30 }, least: func(o *Options) { o.Limits.Swap = 4 << 30 }},
		"cpus":                 {change: func(o *Options) { o.Limits.MilliCPU = 1500 }, want: "--cpus 1.5 (at most 1)"},
		"cpu quota":            {change: func(o *Options) { o.Limits = cgroups.Limits{Memory: 1, Pids: 1, Quota: 50000, Period: 100000} }},
		"no cpu limit":         {change: func(o *Options) { o.Limits.MilliCPU = 0 }, want: "--cpus unlimited (at most 1)"},
		"processes":            {change: func(o *Options) { o.Limits.Pids = 101 }, want: "--pids-limit 101 (at most 100)"},
		"no process limit":     {change: func(o *Options) { o.Limits.Pids = 0 }, want: "--pids-limit unlimited (at most 100)"},
		"shm":                  {change: func(o *Options) { o.ShmSize = 128 << 20 }, want: "--shm-size 128MiB (at most 64MiB)"},
		"disk":                 {change: func(o *Options) { o.Disk = 11 << 30 }, want: "--disk 11GiB (at most 10GiB)"},
		"writable root":        {change: func(o *Options) { o.ReadOnly = false }, want: "--read-only=false"},
		"new privileges":       {change: func(o *Options) { o.NoNewPrivileges = false }, want: "--security-opt no-new-privileges=false"},
		"no filter":            {change: func(o *Options) { o.Seccomp = SeccompUnconfined }, want: "--security-opt seccomp=unconfined"},
		"the filter":           {change: func(o *Options) { o.Seccomp = "/f" }, least: func(o *Options) { o.Seccomp = "/f" }},
		"no AppArmor":          {change: func(o *Options) { o.AppArmor = "unconfined" }, want: "--security-opt apparmor=unconfined"},
		"no label":             {change: func(o *Options) { o.SELinux = []string{"disable"} }, want: "--security-opt label=disable"},
		"the host's network":   {change: func(o *Options) { o.Network = NetworkHost }, want: "--network host"},
		"no network":           {change: func(o *Options) { o.Network = NetworkNone }},
		"the allowlist":        {least: func(o *Options) { o.Network = NetworkNone }, want: "--network allowlist"},
		"low ports":            {change: func(o *Options) { o.PortStart = new(80) }, want: "--sysctl net.ipv4.ip_unprivileged_port_start=80 (at least 1024)"},
		"low ports that may":   {change: func(o *Options) { o.PortStart = new(80) }, least: func(o *Options) { o.PortStart = new(0) }},
		"spared by the kernel": {change: func(o *Options) { o.OOMScoreAdj = new(-1) }, want: "--oom-score-adj -1"},
		"chosen by the kernel": {change: func(o *Options) { o.OOMScoreAdj = new(5) }, least: func(o *Options) { o.OOMScoreAdj = new(10) }},
		"exec on /tmp":         {change: func(o *Options) { o.Tmpfs[0].Exec = true }, want: "--tmpfs /tmp:exec"},
		"exec elsewhere":       {change: func(o *Options) { o.Tmpfs = append(o.Tmpfs, Tmpfs{Path: "/x", Exec: true}) }},
		"suid":                 {change: func(o *Options) { o.Tmpfs = append(o.Tmpfs, Tmpfs{Path: "/x", Suid: true}) }, want: "--tmpfs /x:suid"},
		"core files":           {change: func(o *Options) { o.Ulimits = core(1) }, want: "--ulimit core"},
		"smaller core files":   {change: func(o *Options) { o.Ulimits = core(1) }, least: func(o *Options) { o.Ulimits = core(2) }},
		"larger core files":    {change: func(o *Options) { o.Ulimits = core(3) }, least: func(o *Options) { o.Ulimits = core(2) }, want: "--ulimit core"},
		"locked memory":        {change: func(o *Options) { o.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_MEMLOCK", Hard: 1}} }, want: "--ulimit memlock"},
		"stack":                {change: func(o *Options) { o.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_STACK", Hard: 1}} }},
		"a capability":         {change: func(o *Options) { o.CapAdd = []string{"SYS_PTRACE"} }, want: "--cap-add SYS_PTRACE"},
		"one that may be":      {change: func(o *Options) { o.CapAdd = []string{"SYS_PTRACE"} }, least: func(o *Options) { o.CapBase = append(o.CapBase, "CAP_SYS_PTRACE") }},
		"for root only":        {change: func(o *Options) { o.CapRoot = []string{"FOWNER"} }, want: "--cap-add FOWNER for root"},
		"dropped":              {change: func(o *Options) { o.CapRoot, o.CapDrop = []string{"FOWNER"}, []string{"FOWNER"} }},
		"for root it may be":   {change: func(o *Options) { o.CapRoot = []string{"FOWNER"} }, least: func(o *Options) { o.CapRoot = []string{"FOWNER"} }},
		"more than for root":   {change: func(o *Options) { o.CapAdd = []string{"FOWNER"} }, least: func(o *Options) { o.CapRoot = []string{"FOWNER"} }, want: "--cap-add FOWNER"},
	} {
		o, least := Defaults(), Defaults()
		o.Tmpfs, least.Tmpfs = slices.Clone(o.Tmpfs), slices.Clone(least.Tmpfs)
		if c.change != nil {
			c.change(&o)
		}
		if c.least != nil {
			c.least(&least)
		}
		got, err := o.Weaker(least)
		if err != nil || strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestCapRoot: for whom the further capabilities are.
func TestCapRoot(t *testing.T) {
	for _, c := range []struct {
		uid      uint32
		readOnly bool
		drop     string
		want     bool
	}{{0, false, "", true}, {0, true, "", false}, {1000, false, "", false}, {0, false, "FOWNER", false}, {0, false, "ALL", false}} {
		in := Input{Options: Defaults(), User: ResolvedUser{UID: c.uid}}
		if in.CapRoot, in.ReadOnly = []string{"CAP_FOWNER"}, c.readOnly; c.drop != "" {
			in.CapDrop = []string{c.drop}
		}
		got, err := in.capabilities()
		if err != nil || slices.Contains(got.Bounding, "CAP_FOWNER") != c.want {
			t.Errorf("%+v: %v, %v", c, got.Bounding, err)
		}
	}
}

// TestPortStart: the network namespace's own, and never the host's.
func TestPortStart(t *testing.T) {
	in := Input{Options: Defaults()}
	if got := in.sysctls(); got != nil {
		t.Errorf("nothing asked: %v", got)
	}
	in.PortStart = new(0)
	if got := in.sysctls(); len(got) != 1 || got[PortStartSysctl] != "0" {
		t.Errorf("asked: %v", got)
	}
	in.Network = NetworkHost
	if got := in.sysctls(); got != nil {
		t.Errorf("of the host: %v", got)
	}
}
