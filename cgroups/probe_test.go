// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/golden"

	"golang.org/x/sys/unix"
)

const (
	v2Line = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Line = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
		"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n"
	hybridLine = v1Line + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	hostMap    = "         0          0 4294967295\n"
	u0Map      = "         0       1000          1\n         1     100000      65536\n"
	userDir    = "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/"
)

// hostCase is a host as files; a name that ends in / is a directory, and
// "socket" makes a socket.
type hostCase struct {
	uid      int
	files    map[string]string
	writable []string // besides, everything where uid is 0 and the map the host's
	allow    bool
	units    []string // that systemd has marked as delegated
}

const userUnit = "/user.slice/user-1000.slice/user@1000.service/app.slice/sb.service"

func hostCases() map[string]hostCase {
	all := "cpuset cpu io memory hugetlb pids rdma misc\n"
	return map[string]hostCase{
		"hybrid-root": {files: map[string]string{"proc/self/mountinfo": hybridLine, "proc/self/uid_map": hostMap}, allow: true},
		"legacy-root-memsw": {files: map[string]string{
			"proc/self/mountinfo": v1Line, "proc/self/uid_map": hostMap,
			"sys/fs/cgroup/memory/memory.memsw.limit_in_bytes": "1",
		}, allow: true},
		"hybrid-u0":   {files: map[string]string{"proc/self/mountinfo": hybridLine, "proc/self/uid_map": u0Map}},
		"hybrid-user": {uid: 1000, files: map[string]string{"proc/self/mountinfo": hybridLine, "proc/self/uid_map": hostMap}},
		"none":        {uid: 1000, files: map[string]string{"proc/self/mountinfo": "1 1 0:1 / / rw - ext4 a rw\n", "proc/self/uid_map": hostMap}},
		"unified-root-systemd": {files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "run/systemd/system/": "",
			"sys/fs/cgroup/cgroup.controllers": all,
		}, allow: true},
		"unified-root-plain": {files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap,
			"sys/fs/cgroup/cgroup.controllers": all, "sys/fs/cgroup/cgroup.procs": "1\n2\n",
		}, allow: true},
		"unified-user-systemd": {files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": u0Map, "run/systemd/system/": "",
			userDir + "cgroup.controllers": "memory pids\n", "run/user/1000/bus": "socket",
		}},
		"unified-user-no-bus": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "run/systemd/system/": "",
			userDir + "cgroup.controllers": "memory pids\n",
			"proc/self/cgroup":             "0::/user.slice/user-1000.slice/session-1.scope\n",
		}},
		"unified-user-delegated": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "proc/self/cgroup": "0::/work/me/leaf\n",
			"sys/fs/cgroup/work/me/cgroup.events": "populated 1\n", "sys/fs/cgroup/work/me/cgroup.procs": "",
			"sys/fs/cgroup/work/me/cgroup.controllers": "cpu memory pids\n",
		}, writable: []string{"/sys/fs/cgroup/work/me"}},
		"unified-user-delegated-busy": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "proc/self/cgroup": "0::/work/me\n",
			"sys/fs/cgroup/work/me/cgroup.events": "populated 1\n", "sys/fs/cgroup/work/me/cgroup.procs": "77\n",
			"sys/fs/cgroup/work/me/cgroup.controllers":     "cpu memory pids\n",
			"sys/fs/cgroup/work/me/cgroup.subtree_control": "pids\n",
		}, writable: []string{"/sys/fs/cgroup/work/me"}},
		// A unit with Delegate=, in which cpc is the only process.
		"unified-user-unit": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "run/systemd/system/": "", "proc/self/cgroup": "0::/system.slice/sb.service\n",
			"sys/fs/cgroup/system.slice/sb.service/cgroup.events": "populated 1\n", "sys/fs/cgroup/system.slice/sb.service/cgroup.procs": "42\n",
			"sys/fs/cgroup/system.slice/sb.service/cgroup.controllers": "cpu memory pids\n", "run/user/1000/bus": "socket",
			userDir + "cgroup.controllers": "memory pids\n",
		}, writable: []string{"/sys/fs/cgroup/system.slice/sb.service"}, units: []string{"/sys/fs/cgroup/system.slice/sb.service"}},
		// One with DelegateSubgroup=, whose other controllers are missing.
		"unified-root-unit-subgroup": {files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "run/systemd/system/": "", "proc/self/cgroup": "0::/system.slice/sb.service/supervisor\n",
			"sys/fs/cgroup/system.slice/sb.service/cgroup.events": "populated 1\n", "sys/fs/cgroup/system.slice/sb.service/cgroup.procs": "",
			"sys/fs/cgroup/system.slice/sb.service/cgroup.controllers": "memory pids\n",
		}, allow: true, units: []string{"/sys/fs/cgroup/system.slice/sb.service"}},
		"unified-user-unit-busy": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "run/systemd/system/": "", "proc/self/cgroup": "0::" + userUnit + "\n",
			"sys/fs/cgroup" + userUnit + "/cgroup.events": "populated 1\n", "sys/fs/cgroup" + userUnit + "/cgroup.procs": "41\n42\n",
			"sys/fs/cgroup" + userUnit + "/cgroup.controllers": "cpu memory pids\n", "sys/fs/cgroup" + userUnit + "/cgroup.subtree_control": "", "run/user/1000/bus": "socket",
		}, writable: []string{"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"}, units: []string{"/sys/fs/cgroup" + userUnit}},
		// One of the user's that is not delegated, as of a desktop's terminal.
		"unified-user-app": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "run/systemd/system/": "", "proc/self/cgroup": "0::" + userUnit + "\n",
			userDir + "cgroup.controllers": "memory pids\n", "run/user/1000/bus": "socket",
		}, writable: []string{"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"}},
		// Not in a unit of its own: the user's systemd is asked.
		"unified-user-manager": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "run/systemd/system/": "", "proc/self/cgroup": "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n",
			userDir + "cgroup.controllers": "cpu memory pids\n", "run/user/1000/bus": "socket",
		}, writable: []string{"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"}, units: []string{"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"}},
		"unified-user-nothing": {uid: 1000, files: map[string]string{
			"proc/self/mountinfo": v2Line, "proc/self/uid_map": hostMap, "proc/self/cgroup": "0::/x\n",
		}},
	}
}

func (c hostCase) prober(t *testing.T) prober {
	t.Helper()
	root := t.TempDir()
	for name, content := range c.files {
		path := filepath.Join(root, name)
		var err error
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case content == "socket":
			err = unix.Mknod(path, unix.S_IFSOCK|0o600, 0)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return prober{
		root: root, uid: c.uid, pid: 42, getenv: func(string) string { return "" },
		delegate: func(path string) bool {
			path = strings.TrimPrefix(path, root)
			return !strings.Contains(path, "/user@") && slices.Contains(c.units, path)
		},
		ask: func(bus, unit string) bool {
			return strings.HasSuffix(bus, "/run/user/1000/bus") && slices.ContainsFunc(c.units, func(path string) bool { return filepath.Base(path) == unit })
		},
		writable: func(path string) bool {
			path = strings.TrimPrefix(path, root)
			return c.allow || slices.ContainsFunc(c.writable, func(w string) bool {
				return path == w || strings.HasPrefix(path, w+"/")
			})
		},
	}
}

func TestProbeAndPlanGolden(t *testing.T) {
	for name, c := range hostCases() {
		t.Run(name, func(t *testing.T) {
			h, err := c.prober(t).probe()
			if err != nil {
				t.Fatal(err)
			}
			p, err := h.Plan("abc123", Limits{Memory: 2 << 30, MilliCPU: 1500, Pids: 100})
			if err != nil {
				t.Fatal(err)
			}
			golden.JSON(t, name+".json", map[string]any{"host": h, "plan": p})
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	h := Host{Layout: Hybrid, Driver: DriverFS}
	for _, id := range []string{"", ".", "..", "a/b", "a:b", "a b", "a\n", strings.Repeat("a", 201)} {
		if p, err := h.Plan(id, Limits{}); err == nil {
			t.Errorf("id %q: planned %+v", id, p)
		}
	}
	for _, l := range []Limits{
		{Memory: -1},
		{MilliCPU: -1},
		{Pids: -1},
		{Swap: 1},
		{Memory: 2, Swap: 1},
		{Memory: 1, High: 2},
		{Memory: 1, Reservation: 2},
		{MilliCPU: 1000, Quota: 1000},
		{Period: 999},
		{Quota: 999},
		{Shares: 1},
		{CPUs: "x"},
		{Mems: "2-1"},
		{IOWeight: 9},
		{Rates: []Rate{{Kind: "x", Rate: 1}}},
		{Rates: []Rate{{Kind: ReadBps}}},
	} {
		if _, err := h.Plan("x", l); err == nil {
			t.Errorf("limits %+v: planned", l)
		}
	}
}

// TestPlanNeverDrops: what is asked for is enforced or missing, on every host.
func TestPlanNeverDrops(t *testing.T) {
	for name, c := range hostCases() {
		h, err := c.prober(t).probe()
		if err != nil {
			t.Fatal(err)
		}
		for bits := range 8 {
			l := Limits{Memory: int64(bits&1) << 30, MilliCPU: int64(bits&2) * 100, Pids: int64(bits & 4)}
			p, err := h.Plan("x", l)
			if err != nil {
				t.Fatal(err)
			}
			missing := map[string]bool{}
			for _, m := range p.Missing {
				missing[m.Limit] = true
				if m.Why == "" || m.Fix == "" {
					t.Errorf("%s: %+v says nothing", name, m)
				}
			}
			r := p.Resources
			for limit, ok := range map[string]bool{
				"memory": l.Memory == 0 || r != nil && r.Memory != nil && p.Limits.Memory == l.Memory,
				"cpu":    l.MilliCPU == 0 || r != nil && r.CPU != nil && p.Limits.MilliCPU == l.MilliCPU,
				"pids":   l.Pids == 0 || r != nil && r.Pids != nil && p.Limits.Pids == l.Pids,
			} {
				if ok == missing[limit] {
					t.Errorf("%s: %+v: %s: enforced %v, missing %v", name, l, limit, ok, missing[limit])
				}
			}
		}
	}
}

func TestParseMounts(t *testing.T) {
	over := hybridLine + "50 23 0:50 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	if got := layoutOf(parseMounts(over)); got != Unified {
		t.Errorf("a cgroup2 mounted over a hybrid tree: %s", got)
	}
	inner := "60 1 0:26 /docker/x /sys/fs/cgroup\\040x rw - cgroup cgroup rw,memory\n"
	m := parseMounts(inner)
	if len(m) != 1 || m[0].point != "/sys/fs/cgroup x" {
		t.Fatalf("%+v", m)
	}
	if dir, ok := m[0].dir("/docker/x/y"); !ok || dir != "/sys/fs/cgroup x/y" {
		t.Errorf("dir %q, %v", dir, ok)
	}
	if dir, ok := m[0].dir("/other"); ok {
		t.Errorf("a path outside of the mount is at %q", dir)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(hybridLine, "0::/a\n4:memory:/b (deleted)\n")
	f.Add(v2Line, "1:name=systemd:relative\n:::\n")
	f.Fuzz(func(t *testing.T, mountinfo, cgroup string) {
		layoutOf(parseMounts(mountinfo))
		for name, path := range parseProcCgroup(cgroup) {
			if !filepath.IsAbs(path) {
				t.Errorf("%q: path %q", name, path)
			}
		}
	})
}
