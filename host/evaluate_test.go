// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"
	"strings"
	"testing"

	units "github.com/docker/go-units"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/golden"
)

// good is a user's host on which nothing is missing.
func good() Facts {
	works := Trial{Tried: true}
	return Facts{
		Kernel: "6.12.0-amd64", User: "alice", UID: 1000,
		Sysctls:  map[string]string{"user.max_user_namespaces": "15000"},
		Helpers:  []Helper{{"newuidmap", "/usr/bin/newuidmap", true}, {"newgidmap", "/usr/bin/newgidmap", true}},
		RangeUID: 65536, RangeGID: 65536, FreeRange: 165536,
		Trials: Trials{
			UserNS: works, Proc: works, Nested: works, Overlay: works, Fuse: works, Veth: works, NFTables: works, Seccomp: works,
		},
		Cgroups: cgroups.Host{
			Layout: cgroups.Unified, Driver: cgroups.DriverSystemd, UID: 1000, Systemd: true,
			Base: "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice", Bus: "unix:path=/run/user/1000/bus",
		},
		Controllers: []string{"cpuset", "cpu", "io", "memory", "pids"}, RuntimeDir: true, Linger: true,
		LSM:     LSM{AppArmor: true, Readable: true, Programs: true, Sandbox: true},
		Data:    Space{Path: "/home/alice/.local/share/cpc", Free: 50 * units.GiB, Inodes: 1 << 20},
		State:   Space{Path: "/run/user/1000/cpc", Free: units.GiB, Inodes: 1 << 20},
		Runtime: Program{Path: "/usr/local/bin/cpc-runtime", Says: "cpc-runtime version 1"}, DiskTool: Program{Path: "/usr/bin/fuse2fs"},
	}
}

func bad(text string) Trial { return Trial{Tried: true, Error: text} }

func TestEvaluate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(f *Facts)
		check  string
		status Status
		fix    string // a part of it
	}{
		{"old kernel", func(f *Facts) { f.Kernel = "5.10.0-28" }, "kernel", Warn, "linux-image"},
		{
			"namespaces switched off", func(f *Facts) {
				f.Trials = Trials{UserNS: bad("operation not permitted")}
				f.Sysctls["user.max_user_namespaces"] = "0"
			}, "user-namespaces", Fail, "echo user.max_user_namespaces=65536 | sudo tee /etc/sysctl.d/90-cpc.conf",
		},
		{"and what depends on them", func(f *Facts) { f.Trials = Trials{UserNS: bad("operation not permitted")} }, "overlay", Skipped, ""},
		{
			"Debian's old switch", func(f *Facts) {
				f.Trials.UserNS, f.Sysctls["kernel.unprivileged_userns_clone"] = bad("operation not permitted"), "0"
			}, "user-namespaces", Fail, "kernel.unprivileged_userns_clone=1",
		},
		{
			"Ubuntu's restriction", func(f *Facts) {
				f.Trials.Proc, f.Sysctls["kernel.apparmor_restrict_unprivileged_userns"] = bad("permission denied"), "1"
				f.Trials.Nested, f.LSM.Programs = bad("permission denied"), false
			}, "nested-user-namespaces", Fail, "sudo cpc setup",
		},
		{
			"in a profile without userns", func(f *Facts) {
				f.Trials.UserNS, f.LSM.Confined = bad("permission denied"), "some-service"
			}, "user-namespaces", Fail, `add the line "userns," to the AppArmor profile some-service`,
		},
		{"in a container", func(f *Facts) { f.Trials.UserNS = bad("operation not permitted") }, "user-namespaces", Fail, "seccomp=unconfined"},
		{"masked proc", func(f *Facts) { f.Trials.Proc = bad("operation not permitted") }, "proc", Fail, "systempaths=unconfined"},
		{"no newuidmap", func(f *Facts) { f.Helpers[0] = Helper{Name: "newuidmap"} }, "id-helpers", Fail, "sudo apt-get install uidmap"},
		{"newgidmap without its mode", func(f *Facts) { f.Helpers[1].Able = false }, "id-helpers", Fail, "chmod u+s /usr/bin/newgidmap"},
		{"no range", func(f *Facts) { f.RangeGID = 1000 }, "subordinate-ids", Fail, "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 alice"},
		{"hybrid", func(f *Facts) { f.Cgroups.Layout, f.Cgroups.Driver = cgroups.Hybrid, cgroups.DriverNone }, "cgroups", Warn, "unified_cgroup_hierarchy=1"},
		{
			"cpu is not delegated", func(f *Facts) {
				f.Missing = []cgroups.Missing{{Limit: "cpu", Why: "not delegated", Fix: "printf x | sudo tee /etc/systemd/system/user@.service.d/delegate.conf"}}
			}, "limit-cpu", Fail, "user@.service.d/delegate.conf\nor: sudo cpc setup",
		},
		{"io is not delegated", func(f *Facts) { f.Controllers = []string{"cpu", "memory", "pids"} }, "limit-io", Warn, "sudo cpc setup"},
		{
			"after su", func(f *Facts) {
				f.Cgroups.Bus, f.Cgroups.Driver, f.RuntimeDir = "", cgroups.DriverNone, false
			}, "systemd-session", Fail, "loginctl enable-linger alice && export XDG_RUNTIME_DIR=/run/user/1000",
		},
		{"no bus but a directory", func(f *Facts) { f.Cgroups.Bus, f.Cgroups.Driver = "", cgroups.DriverFS }, "systemd-session", Warn, "dbus-user-session"},
		{"in a unit", func(f *Facts) { f.Cgroups.Bus, f.Cgroups.Unit = "", true }, "systemd-session", Skipped, ""},
		{"no systemd", func(f *Facts) { f.Cgroups.Systemd = false }, "linger", Skipped, ""},
		{"no linger", func(f *Facts) { f.Linger = false }, "linger", Warn, "sudo loginctl enable-linger alice"},
		{"no profile", func(f *Facts) { f.LSM.Sandbox = false }, "apparmor", Warn, "sudo cpc setup"},
		{"profiles not to be seen", func(f *Facts) { f.LSM = LSM{AppArmor: true} }, "apparmor", OK, ""},
		{"no AppArmor", func(f *Facts) { f.LSM = LSM{} }, "apparmor", Skipped, ""},
		{"SELinux", func(f *Facts) { f.LSM.SELinux = "enforcing" }, "selinux", OK, ""},
		{"overlay on NFS", func(f *Facts) { f.Trials.Overlay = bad("invalid argument") }, "overlay", Fail, "CPC_DATA_DIR"},
		{"no fuse", func(f *Facts) { f.Trials.Fuse = bad("no such file") }, "fuse", Warn, "fuse3"},
		{"root's mounts", func(f *Facts) { f.UID, f.Trials.IDMapped = 0, bad("invalid argument") }, "idmapped-mounts", Fail, "5.19"},
		{"root has no fuse", func(f *Facts) { f.UID, f.Trials.Fuse = 0, Trial{} }, "fuse", Skipped, ""},
		{"no veth", func(f *Facts) { f.Trials.Veth = bad("operation not supported") }, "veth", Fail, "modprobe veth"},
		{
			"no network namespaces", func(f *Facts) {
				f.Trials.Veth = bad("new network namespace: no space left on device")
				f.Sysctls["user.max_net_namespaces"] = "0"
			}, "veth", Fail, "echo user.max_net_namespaces=65536",
		},
		{"no nftables", func(f *Facts) { f.Trials.NFTables = bad("operation not supported") }, "nftables", Fail, "modprobe nf_tables"},
		{"no seccomp", func(f *Facts) { f.Trials.Seccomp = bad("invalid argument") }, "seccomp", Fail, "CONFIG_SECCOMP_FILTER"},
		{"no runtime", func(f *Facts) { f.Runtime = Program{Error: "OCI runtime not found: cpc-runtime"} }, "cpc-runtime", Fail, "--runtime PATH"},
		{"no fuse2fs", func(f *Facts) { f.DiskTool = Program{Error: "fuse2fs is not installed"} }, "fuse2fs", Warn, "apt-get install fuse2fs"},
		{"full disk", func(f *Facts) { f.Data.Free = units.MiB }, "data-space", Fail, "CPC_DATA_DIR"},
		{"small disk", func(f *Facts) { f.Data.Free = units.GiB }, "data-space", Warn, "cpc rmi"},
		{"no inodes", func(f *Facts) { f.Data.Inodes = 5 }, "data-space", Warn, "free some space"},
		{"inodes are not counted", func(f *Facts) { f.Data.Inodes, f.Data.NoInodes = 0, true }, "data-space", OK, ""},
		{"closed directory", func(f *Facts) { f.State.Error = "permission denied" }, "state-space", Fail, "CPC_STATE_DIR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := good()
			c.change(&f)
			checks := Evaluate(f)
			i := slices.IndexFunc(checks, func(k Check) bool { return k.Name == c.check })
			if i < 0 {
				t.Fatalf("no check %s", c.check)
			}
			got := checks[i]
			if got.Status != c.status || !strings.Contains(got.Fix, c.fix) || (got.Fix == "") != (c.fix == "") {
				t.Errorf("%+v; want %s and a fix with %q", got, c.status, c.fix)
			}
			if Ready(checks) == slices.ContainsFunc(checks, func(k Check) bool { return k.Status == Fail }) {
				t.Errorf("ready: %v", Ready(checks))
			}
			for _, k := range checks {
				if k.Name == "" || k.Why == "" || k.Found == "" || (k.Status == Fail || k.Status == Warn) != (k.Fix != "") {
					t.Errorf("%+v leaves something open", k)
				}
			}
		})
	}
}

func TestEvaluateGolden(t *testing.T) {
	root := good()
	root.UID, root.User = 0, "root"
	root.Trials.IDMapped = Trial{Tried: true}
	golden.JSON(t, "checks.json", map[string][]Check{"user": Evaluate(good()), "root": Evaluate(root)})
	for name, f := range map[string]Facts{"user": good(), "root": root} {
		if !Ready(Evaluate(f)) {
			t.Errorf("%s is not ready", name)
		}
	}
}
