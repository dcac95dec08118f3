// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seen is what the probe's verb paths tells of one path.
type seen struct {
	Link  string `json:"link"`
	Error string `json:"error"`
	Mode  uint32 `json:"mode"`
	Rdev  string `json:"rdev"`
	Owner string `json:"owner"`
	Data  string `json:"data"`
	Write string `json:"write"`
}

// paths runs the probe's verb in a container.
func (b *bench) paths(change func(*specs.Spec), paths ...string) map[string]seen {
	b.t.Helper()
	spec := b.spec(append([]string{"probe", "paths"}, paths...)...)
	change(spec)
	r := b.run(spec)
	if r.code != 0 {
		b.t.Fatalf("run: %+v", r)
	}
	var got map[string]seen
	decode(b.t, r.stdout, &got)
	return got
}

// field is one part of a bundle and what of it can be seen inside.
type field struct {
	change func(*specs.Spec)
	path   string
	want   string // in its data
}

func fields() map[string]field {
	mount := func(m specs.Mount) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Mounts = append(s.Mounts, m) }
	}
	score, idle := 500, 19
	return map[string]field{
		"time namespace": {func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 864000}}
		}, "/proc/self/timens_offsets", "boottime       864000"},
		"personality": {func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		}, "uname", "i686"},
		"oomScoreAdj": {func(s *specs.Spec) { s.Process.OOMScoreAdj = &score }, "/proc/self/oom_score_adj", "500"},
		"scheduler": {func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: int32(idle)}
		}, "/proc/self/stat", " 39 19 "},
		"ioPriority": {func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		}, "ioprio", "2/6"},
		"memory policy": {func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolInterleave, Nodes: "0"}
		}, "/proc/self/numa_maps", " interleave:0 "},
		"rlimits": {func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1234, Hard: 5678}}
		}, "core", "1234/5678"},
		"sysctl net": {func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"net.ipv4.ping_group_range": "0 0"}
		}, "/proc/sys/net/ipv4/ping_group_range", "0\t0"},
		"sysctl ipc": {func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"kernel.msgmax": "4321"}
		}, "/proc/sys/kernel/msgmax", "4321"},
		"domainname": {func(s *specs.Spec) { s.Domainname = "example.org" }, "uname", "example.org"},
		"umask": {func(s *specs.Spec) {
			mask := uint32(0o27)
			s.Process.User.Umask = &mask
		}, "/proc/self/status", "Umask:\t0027"},
		"tmpcopyup": {mount(specs.Mount{
			Destination: "/etc", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "size=1m"},
		}), "/etc/name", "inside"},
		"rro": {mount(specs.Mount{
			Destination: "/mnt", Type: "bind", Source: "/dev", Options: []string{"rbind", "rro"},
		}), "/proc/self/mountinfo", " /mnt/pts ro,"},
		"propagation": {mount(specs.Mount{
			Destination: "/mnt", Type: "bind", Source: "/dev", Options: []string{"rbind", "rprivate"},
		}), "/proc/self/mountinfo", " /mnt rw,"},
		"mount flags": {mount(specs.Mount{
			Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro", "nosuid", "noexec", "nodev", "noatime", "nosymfollow"},
		}), "/proc/self/mountinfo", " /mnt ro,nosuid,nodev,noexec,noatime,nosymfollow"},
		"mqueue": {mount(specs.Mount{
			Destination: "/mnt", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid"},
		}), "/proc/self/mountinfo", " - mqueue mqueue "},
		"cgroup": {mount(specs.Mount{
			Destination: "/mnt", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid"},
		}), "/proc/self/mountinfo", " /mnt"},
		"annotations": {func(s *specs.Spec) { s.Annotations = map[string]string{"a": "b"} }, "/proc/self/comm", "probe"},
	}
}

// Every field that can be seen from inside without further arrangements.
func TestFields(t *testing.T) {
	inSettings(t, func(b *bench) {
		b.file("etc/name", "inside", 0o644)
		if err := os.Mkdir(filepath.Join(b.dir, "rootfs/mnt"), 0o755); err != nil {
			b.t.Fatal(err)
		}
		for name, f := range fields() {
			got := b.paths(f.change, f.path)
			if !strings.Contains(got[f.path].Data, f.want) {
				b.t.Errorf("%s: %s is %q (%s), want %q in it", name, f.path, got[f.path].Data, got[f.path].Error, f.want)
			}
		}
	})
}

func TestMaskedPaths(t *testing.T) {
	inSettings(t, func(b *bench) {
		got := b.paths(func(s *specs.Spec) {
			s.Linux.MaskedPaths = []string{"/proc/uptime", "/proc/irq", "/proc/nosuch"}
			s.Linux.ReadonlyPaths = []string{"/proc/sys", "/proc/nosuch"}
		}, "/proc/uptime", "/proc/sys/kernel/msgmax")
		if m := got["/proc/uptime"]; m.Rdev != "1:3" {
			b.t.Errorf("masked file: %+v", m)
		}
		if m := got["/proc/sys/kernel/msgmax"]; m.Write != "EROFS" {
			b.t.Errorf("read-only file: %+v", m)
		}
	})
}

// A field that this kernel or libcontainer lacks is an error that names it.
func TestUnsupportedFields(t *testing.T) {
	inSettings(t, func(b *bench) {
		for name, tt := range map[string]struct {
			change func(*specs.Spec)
			want   string
		}{
			"personality flags": {func(s *specs.Spec) {
				s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux, Flags: []specs.LinuxPersonalityFlag{"ADDR_NO_RANDOMIZE"}}
			}, "personality.flags"},
			"personality": {func(s *specs.Spec) {
				s.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX64"}
			}, "LINUX64"},
			"apparmor":    {func(s *specs.Spec) { s.Process.ApparmorProfile = "nosuch" }, "apparmor"},
			"selinux":     {func(s *specs.Spec) { s.Process.SelinuxLabel = "a:b:c:d" }, "SELinux"},
			"mount label": {func(s *specs.Spec) { s.Linux.MountLabel = "a:b:c:d" }, "SELinux"},
			"namespace":   {func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "nosuch" }, "nosuch"},
			"propagation": {func(s *specs.Spec) { s.Linux.RootfsPropagation = "nosuch" }, "nosuch"},
			"sysctl":      {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"vm.swappiness": "1"} }, "vm.swappiness"},
			"rdt":         {func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f"} }, "intelRdt"},
			"device": {func(s *specs.Spec) {
				s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}}
			}, `"z"`},
			"mount type": {func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp/x", Type: "nosuchfs", Source: "x"})
			}, `error mounting "x" to rootfs at "/tmp/x"`},
			"seccomp action": {func(s *specs.Spec) {
				s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_NOSUCH"}
			}, "SCMP_ACT_NOSUCH"},
			"seccomp architecture": {func(s *specs.Spec) {
				s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_NOSUCH"}}
			}, "SCMP_ARCH_NOSUCH"},
			"memory policy": {func(s *specs.Spec) {
				s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_NOSUCH"}
			}, "MPOL_NOSUCH"},
			"scheduler": {func(s *specs.Spec) {
				s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_NOSUCH"}
			}, "SCHED_NOSUCH"},
			"affinity": {func(s *specs.Spec) {
				s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "x"}
			}, "CPU"},
			"net device": {func(s *specs.Spec) {
				s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"nosuchdev": {}}
			}, "dev"},
		} {
			spec := b.spec("probe", "exit", "0")
			tt.change(spec)
			if r := b.run(spec); r.code != 1 || !strings.Contains(r.stderr, tt.want) {
				b.t.Errorf("%s: %+v, want %q", name, r, tt.want)
			}
		}
	})
}

// Hooks of all kinds run in order, and are told the state of the moment.
func TestHooks(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		dir := filepath.Join(b.dir, "hooks")
		order := filepath.Join(dir, "order")
		for _, err := range []error{
			os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777), os.WriteFile(order, nil, 0o666), os.Chmod(order, 0o666),
			os.Mkdir(filepath.Join(b.dir, "rootfs/hooks"), 0o755),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		probe := filepath.Join(os.Getenv(envTools), "probe")
		hook := func(name string) []specs.Hook {
			return []specs.Hook{{Path: probe, Args: []string{"probe", "save", filepath.Join(dir, name)}, Env: []string{"A=b"}}}
		}
		spec := b.spec("probe", "sleep")
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/hooks", Type: "bind", Source: dir, Options: []string{"bind"}})
		spec.Hooks = &specs.Hooks{
			Prestart:        hook("prestart"), //nolint:staticcheck // deprecated, and still in use
			CreateRuntime:   hook("createRuntime"),
			CreateContainer: hook("createContainer"),
			StartContainer:  []specs.Hook{{Path: "/bin/probe", Args: []string{"probe", "save", "/hooks/startContainer"}}},
			Poststart:       hook("poststart"), Poststop: hook("poststop"),
		}
		b.create("c1", spec)
		pid := b.state("c1").Pid
		b.must("start", "c1")
		b.must("delete", "--force", "c1")
		data, err := os.ReadFile(order)
		got := strings.Fields(string(data))
		want := []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("order %v, want %v (%v)", got, want, err)
		}
		for name, status := range map[string]specs.ContainerState{
			"prestart": specs.StateCreating, "createRuntime": specs.StateCreating, "createContainer": specs.StateCreating,
			"startContainer": specs.StateCreated, "poststart": specs.StateRunning, "poststop": specs.StateStopped,
		} {
			var s specs.State
			data, err := os.ReadFile(filepath.Join(dir, name+".json"))
			if err == nil {
				err = json.Unmarshal(data, &s)
			}
			if err != nil || s.Status != status || s.ID != "c1" || s.Bundle != b.dir {
				t.Errorf("%s: %+v, %v", name, s, err)
			}
			wantPid := map[specs.ContainerState]int{specs.StateCreating: pid, specs.StateCreated: 1, specs.StateRunning: pid}[status]
			if name == "createContainer" {
				wantPid = s.Pid // of some pid namespace
			}
			if s.Pid != wantPid {
				t.Errorf("%s: pid %d, want %d", name, s.Pid, wantPid)
			}
		}
		failing := b.spec("probe", "exit", "0")
		failing.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: probe, Args: []string{"probe", "exit", "3"}}}}
		if r := b.run(failing); r.code != 1 || !strings.Contains(r.stderr, "hook") {
			t.Errorf("failing hook: %+v", r)
		}
		failing = b.spec("probe", "sleep")
		failing.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: probe, Args: []string{"probe", "exit", "3"}}}}
		if r := b.run(failing); r.code != 1 || !strings.Contains(r.stderr, "poststart") {
			t.Errorf("failing poststart hook: %+v", r)
		}
		b.create("c2", failing)
		if r := b.cli("start", "c2"); r.code != 1 || !strings.Contains(r.stderr, "start c2: poststart") {
			t.Errorf("failing poststart hook: %+v", r)
		}
		last := filepath.Join(dir, "last")
		failing = b.spec("probe", "exit", "0")
		failing.Hooks = &specs.Hooks{Poststop: append([]specs.Hook{{Path: probe, Args: []string{"probe", "exit", "3"}}}, hook("last")...)}
		if r := b.run(failing); r.code != 0 || !strings.Contains(r.stderr, "poststop") {
			t.Errorf("failing poststop hook: %+v", r)
		}
		if _, err := os.Stat(last + ".json"); err != nil {
			t.Errorf("the hook after a failing one: %v", err)
		}
		slow, second := b.spec("probe", "exit", "0"), 1
		slow.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: probe, Args: []string{"probe", "sleep"}, Timeout: &second}}}
		if r := b.run(slow); r.code != 1 || !strings.Contains(r.stderr, "hook") {
			t.Errorf("slow hook: %+v", r)
		}
	})
}

// Namespaces of another container are joined by path.
func TestJoinedNamespaces(t *testing.T) {
	inSettings(t, func(b *bench) {
		b.sleeper("other")
		ns := fmt.Sprintf("/proc/%d/ns/", b.state("other").Pid)
		kinds := map[specs.LinuxNamespaceType]string{
			specs.UserNamespace: "user", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
		}
		names := []string{}
		for _, name := range kinds {
			names = append(names, "/proc/self/ns/"+name)
		}
		got := b.paths(func(s *specs.Spec) {
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
			s.Hostname = ""
			for i, n := range s.Linux.Namespaces {
				if name, ok := kinds[n.Type]; ok {
					s.Linux.Namespaces[i].Path = ns + name
				}
			}
		}, names...)
		for _, name := range kinds {
			want, err := os.Readlink(ns + name)
			if link := got["/proc/self/ns/"+name].Link; err != nil || link != want {
				b.t.Errorf("%s namespace %q, want %q (%v)", name, link, want, err)
			}
		}
	})
}

// The owner of an idmapped mount's files is shifted.
func TestIDMappedMount(t *testing.T) {
	inSettings(t, func(b *bench) {
		if b.name != "root" {
			return // a file system of another user namespace cannot be shifted
		}
		dir := filepath.Join(b.dir, "shared")
		for _, err := range []error{os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "f"), nil, 0o600), os.Mkdir(filepath.Join(b.dir, "rootfs/mnt"), 0o755)} {
			if err != nil {
				b.t.Fatal(err)
			}
		}
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: b.base + 7, Size: 100}}
		got := b.paths(func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{
				Destination: "/mnt", Type: "bind", Source: dir, Options: []string{"bind"}, UIDMappings: ids, GIDMappings: ids,
			})
		}, "/mnt/f")
		if got["/mnt/f"].Owner != "7:7" {
			b.t.Errorf("owner %+v, want 7:7", got["/mnt/f"])
		}
	})
}

// A network device of the caller's moves into the container under a new name.
func TestNetDevice(t *testing.T) {
	inSettings(t, func(b *bench) {
		spec := b.spec("probe", "look")
		spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"cpct0": {Name: "eth7"}}
		b.write(spec)
		script := `ip link add cpct0 type veth peer name cpct1 && exec "$@"`
		cmd := exec.Command("unshare", "-n", "sh", "-c", script, "sh", b.runtime, "--root", b.states, "run", "c1")
		cmd.Dir = b.dir
		out, err := cmd.CombinedOutput()
		if b.name != "root" {
			if err == nil || !strings.Contains(string(out), "network devices are not supported for rootless") {
				b.t.Errorf("run: %v: %s", err, out)
			}
			return
		}
		if err != nil || !strings.Contains(string(out), "/sys/class/net/eth7") {
			b.t.Errorf("run: %v: %s", err, out)
		}
	})
}

// The agent of a seccomp profile is sent the listener, and who it is of.
func TestSeccompListener(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		path := filepath.Join(b.dir, "agent")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		states := make(chan specs.ContainerProcessState, 1)
		go func() {
			defer close(states)
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			data, oob := make([]byte, 16384), make([]byte, 64)
			n, oobn, _, _, err := conn.ReadMsgUnix(data, oob)
			messages, perr := unix.ParseSocketControlMessage(oob[:oobn])
			if err != nil || perr != nil || len(messages) != 1 {
				return
			}
			fds, _ := unix.ParseUnixRights(&messages[0])
			for _, fd := range fds {
				_ = unix.Close(fd) // the call then fails with ENOSYS
			}
			var s specs.ContainerProcessState
			if json.Unmarshal(data[:n], &s) == nil && len(fds) == 1 {
				states <- s
			}
		}()
		spec := b.spec("probe", "calls")
		spec.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "note",
			Syscalls: []specs.LinuxSyscall{{Names: []string{"swapon"}, Action: specs.ActNotify}},
		}
		b.create("c1", spec)
		pid := b.state("c1").Pid
		b.must("start", "c1")
		s, ok := <-states
		if !ok || s.Metadata != "note" || s.State.ID != "c1" || len(s.Fds) != 1 || s.Pid != pid {
			t.Errorf("state %+v, %v", s, ok)
		}
		b.waitStatus("c1", "stopped")
		var results map[string]unix.Errno
		decode(t, b.output("c1"), &results)
		if results["swapon"] != unix.ENOSYS {
			t.Errorf("swapon: %v", results["swapon"])
		}
	})
}

// A cgroup and CPUs of its own for a further process.
func TestExecPlacement(t *testing.T) {
	inSettings(t, func(b *bench) {
		if b.name != "root" {
			return // cgroups of this machine need root
		}
		spec := b.spec("probe", "sleep")
		spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"}
		b.create("c1", spec)
		b.must("start", "c1")
		sub := filepath.Join(b.group("pids"), "sub")
		if err := os.Mkdir(sub, 0o755); err != nil {
			b.t.Fatal(err)
		}
		r := b.must("exec", "--cgroup", "pids:sub", "c1", "probe", "paths", "/proc/self/cgroup", "/proc/self/status")
		var got map[string]seen
		decode(b.t, r.stdout, &got)
		if !strings.Contains(got["/proc/self/cgroup"].Data, ":pids:/sub\n") {
			b.t.Errorf("cgroup %s", got["/proc/self/cgroup"].Data)
		}
		if !strings.Contains(got["/proc/self/status"].Data, "Cpus_allowed_list:\t1\n") {
			b.t.Errorf("status %s", got["/proc/self/status"].Data)
		}
		for _, flag := range []string{"pids:nosuch", "pids:../..", ":sub"} {
			if r := b.cli("exec", "--cgroup", flag, "c1", "probe", "exit", "0"); r.code != 255 {
				b.t.Errorf("--cgroup %s: %+v", flag, r)
			}
		}
	})
}
