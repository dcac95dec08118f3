// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// flagsOfBundles are the flags of cpc run that change what the runtime is given, as
// command lines that have as many of them as go together.
func flagsOfBundles() [][]string {
	return [][]string{
		{
			"--tty", "--interactive", "--add-host", "a:192.0.2.1", "--annotation", "a=b", "--cap-drop", "ALL", "--cap-add", "CHOWN", "--cpus", "0.5",
			"--cpu-shares", "512", "--dns-search", "example.org", "--domainname", "d", "--disk", "64m", "--read-only=false", "--egress", "example.org",
			"--entrypoint", "", "--env", "A=B", "--env-file", "/dev/null", "--hostname", "h", "--init", "--memory", "256m", "--oom", "sandbox", "--oom-score-adj", "500",
			"--pids-limit", "50", "--shm-size", "1m", "--tmpfs", "/x:size=1m,mode=700", "--mount", "type=tmpfs,target=/y", "--ulimit", "nofile=100:200",
			"--user", "0:0", "--workdir", "/made/here", "--dns-option", "ndots:2", "--proxy", "--host-ca=false",
		},
		{
			"--network", "host", "--dns", "192.0.2.1", "--security-opt", "no-new-privileges=false", "--security-opt", "seccomp=unconfined",
			"--cpus", "0", "--cpu-period", "50000", "--cpu-quota", "25000", "--cpuset-cpus", "0", "--memory", "256m", "--memory-reservation", "64m", "--memory-swap", "512m",
		},
		{
			"--network", "none", "--storage-opt", "size=64m", "--memory-high", "128m", "--blkio-weight", "100", "--cpuset-mems", "0",
			"--profile", "work", "--sysctl", "net.ipv4.ip_unprivileged_port_start=80",
		},
	}
}

// flagsElsewhere are those that are cpc's own business, or change nothing else.
var flagsElsewhere = strings.Fields(`--attach --cidfile --detach --detach-keys --dry-run --egress-file --expose --help --label --label-file --limits --log-driver
	--name --platform --pull --quiet --rm --runtime --stop-signal --stop-timeout --group-add
	--device-read-bps --device-read-iops --device-write-bps --device-write-iops`)

// TestNoLongWay: no flag of cpc run leads the runtime to start a sandbox by
// libcontainer's own init. inspect says so, and why one was (the control).
func TestNoLongWay(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		tried := map[string]bool{}
		for _, name := range flagsElsewhere {
			tried[name] = true
		}
		for _, flags := range flagsOfBundles() {
			for _, f := range flags {
				name, _, _ := strings.Cut(f, "=")
				tried[name] = true
			}
			name := w.detach(t, append([]string{"--limits", "best-effort"}, flags...), "sleep", "1000")
			if got := w.inspect(t, name, ".HostConfig.RuntimeLongWay"); got != "" {
				t.Errorf("%q: the long way: %s", flags, got)
			}
			w.must(t, "exec", name, "true")
			w.must(t, "rm", "--force", name)
		}
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, +)?(--[a-z0-9-]+)`).FindAllStringSubmatch(w.must(t, "run", "--help"), -1) {
			if !tried[m[1]] {
				t.Errorf("%s: does it lead to the long way? It is not among the flags that are tried here", m[1])
			}
		}
		name := w.name(t)
		asked := w.cpc(t, "run", "-d", "--name", name, base, "true")
		asked.Env = append(asked.Env, "CPC_RUNTIME_LONG_WAY=1")
		if r := finish(t, asked); r.code != 0 {
			t.Fatalf("%+v", r)
		}
		if got := w.inspect(t, name, ".HostConfig.RuntimeLongWay"); got != "asked" {
			t.Errorf("the control: %q", got)
		}
	})
}
