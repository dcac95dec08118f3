// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/golden"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/internal/idmap"
)

// sandboxImage is what build/image/Dockerfile.sandbox will say.
func sandboxImage() v1.ImageConfig {
	return v1.ImageConfig{
		User:       "sandbox",
		Env:        []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"},
		Cmd:        []string{"/bin/bash"},
		WorkingDir: "/home/sandbox",
		Labels:     map[string]string{"org.systemd.property.x": "not an annotation"},
	}
}

func limitsOf(layout cgroups.Layout, l cgroups.Limits, privileged bool) cgroups.Plan {
	h := cgroups.Host{
		Layout: layout, Driver: cgroups.DriverFS, Privileged: privileged, Base: "/sys/fs/cgroup",
		Controllers: []string{"memory", "cpu", "pids"}, SwapLimit: true,
	}
	p, err := h.Plan("0123456789abcdef", l)
	if err != nil {
		panic(err) // the id and the limits are constants
	}
	return p
}

func input(o Options, m idmap.Mapping) Input {
	var home Home
	if o.NeedsHome("/home/sandbox") {
		home = Home{Path: "/home/sandbox", Kind: HomeMemory, Size: o.Space.Home}
	}
	return Input{
		Options: o,
		ID:      "0123456789abcdef",
		Image:   sandboxImage(),
		User:    ResolvedUser{UID: 1000, GID: 1000, Groups: []uint32{27}, Name: "sandbox", Home: "/home/sandbox"},
		Mapping: m,
		Cgroup:  limitsOf(cgroups.Unified, o.Limits, m.Mode == idmap.Root),
		Rootfs:  "/state/0123456789abcdef/rootfs",
		Seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActErrno},
		Files:   Files{Hostname: "/state/hostname", Hosts: "/state/hosts", ResolvConf: "/state/resolv.conf"},
		Home:    home,
		Init:    Init{Path: "/usr/libexec/cpc/cpc-runtime", Args: []string{"reaper"}},
		Host:    Host{Hard: map[string]uint64{"RLIMIT_NOFILE": 20000}, Thermal: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}, Disks: []string{"/sys/devices/virtual/block"}},
	}
}

// consoleOptions are those of the console's `docker run` line.
func consoleOptions(t *testing.T) Options {
	t.Helper()
	o := Defaults()
	o.TTY = true
	var given []Tmpfs
	for _, s := range []string{"/tmp:rw,noexec,nosuid,size=1g", "/home/sandbox:rw,exec,nosuid,size=1g"} {
		m, err := dockerflag.ParseTmpfs(s)
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, m)
	}
	o.Tmpfs = MergeTmpfs(o.Tmpfs, given)
	o.CapDrop, o.CapAdd = []string{"ALL"}, []string{"CHOWN", "SETUID", "SETGID"}
	return o
}

func TestPlanGolden(t *testing.T) {
	root := idmap.ForRoot(0x20000000)
	with := func(m idmap.Mapping, change func(in *Input)) Input {
		in := input(Defaults(), m)
		change(&in)
		return in
	}
	for name, in := range map[string]Input{
		"defaults-root":   input(Defaults(), root),
		"defaults-mapped": input(Defaults(), idmap.ForMapped()),
		"defaults-single": input(Defaults(), idmap.ForSingle()),
		"console":         input(consoleOptions(t), idmap.ForMapped()),
		"network-none":    with(root, func(in *Input) { in.Network = NetworkNone }),
		"host-ca": with(root, func(in *Input) {
			in.Files.HostCA = "/stage/host-ca.crt"
			in.Image.Env = append(in.Image.Env, "SSL_CERT_FILE=/image/ca.pem")
			in.Env = append(in.Env, "PIP_CERT=/mine.pem")
		}),
		"network-host":  with(root, func(in *Input) { in.Network = NetworkHost }),
		"writable-root": with(root, func(in *Input) { in.ReadOnly = false; in.Home.Kind = HomeRoot }),
		"init":          with(root, func(in *Input) { in.Options.Init = true; in.Args = []string{"sleep", "1"} }),
		"tty":           with(idmap.ForSingle(), func(in *Input) { in.TTY = true }),
		"hybrid":        with(root, func(in *Input) { in.Cgroup = limitsOf(cgroups.Hybrid, in.Limits, true) }),
		"no-limits":     with(idmap.ForMapped(), func(in *Input) { in.Cgroup = cgroups.Plan{Layout: cgroups.Hybrid} }),
		"unconfined":    with(root, func(in *Input) { in.Options.Seccomp = SeccompUnconfined; in.Seccomp = nil }),
		"apparmor":      with(idmap.ForMapped(), func(in *Input) { in.Confine.AppArmor = "cpc-sandbox" }),
		"selinux": with(root, func(in *Input) {
			in.Confine = Confine{Label: "system_u:system_r:container_t:s0:c1,c2", MountLabel: "system_u:object_r:container_file_t:s0:c1,c2"}
		}),
		"build-step": with(idmap.ForMapped(), func(in *Input) {
			in.Options, in.Home = BuildStep(), Home{}
			in.Args = []string{"/bin/sh", "-c", "apt-get update"}
			in.User = ResolvedUser{Name: "root", Home: "/root"}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := Plan(in)
			if err != nil {
				t.Fatal(err)
			}
			golden.JSON(t, name+".json", spec)
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	empty := ""
	for name, change := range map[string]func(in *Input){
		"no command":             func(in *Input) { in.Image.Cmd = nil },
		"cleared entrypoint":     func(in *Input) { in.Entrypoint = &empty },
		"empty command":          func(in *Input) { in.Args = []string{""} },
		"NUL in argument":        func(in *Input) { in.Args = []string{"a", "b\x00c"} },
		"relative directory":     func(in *Input) { in.Workdir = "x" },
		"relative image dir":     func(in *Input) { in.Image.WorkingDir = "../x" },
		"nameless environment":   func(in *Input) { in.Image.Env = []string{"=x"} },
		"NUL in environment":     func(in *Input) { in.Image.Env = []string{"A=\x00"} },
		"bad stop signal":        func(in *Input) { in.Image.StopSignal = "SIGNOPE" },
		"bad hostname":           func(in *Input) { in.Hostname = "a b" },
		"unknown network":        func(in *Input) { in.Network = "bridge" },
		"no network":             func(in *Input) { in.Network = "" },
		"no profile":             func(in *Input) { in.Seccomp = nil },
		"unwanted profile":       func(in *Input) { in.Options.Seccomp = SeccompUnconfined },
		"unknown capability":     func(in *Input) { in.CapAdd = []string{"CHWON"} },
		"relative rootfs":        func(in *Input) { in.Rootfs = "rootfs" },
		"no id":                  func(in *Input) { in.ID = "" },
		"no mapping":             func(in *Input) { in.Mapping = idmap.Mapping{} },
		"host ids":               func(in *Input) { in.Mapping = idmap.ForRoot(0) },
		"user out of range":      func(in *Input) { in.User.UID = 65536 },
		"group out of range":     func(in *Input) { in.User.Groups = []uint32{70000} },
		"ulimit above host's":    func(in *Input) { in.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 20001}} },
		"ulimit soft over hard":  func(in *Input) { in.Ulimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}} },
		"oom score out of range": func(in *Input) { in.OOMScoreAdj = new(-1000) },
		"user's low oom score": func(in *Input) {
			in.OOMScoreAdj, in.Mapping = new(-1), idmap.ForMapped()
		},
		"systemd annotation": func(in *Input) { in.Annotations = map[string]string{"org.systemd.property.MemoryMax": "1"} },
		"relative init":      func(in *Input) { in.Options.Init = true; in.Init.Path = "init" },
		"relative hosts":     func(in *Input) { in.Files.Hosts = "hosts" },
		"tmpfs twice":        func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/a"}, {Path: "/a"}} },
		"tmpfs on /":         func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/"}} },
		"tmpfs on /proc":     func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/proc"}} },
		"tmpfs in /proc":     func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/proc/sys"}} },
		"tmpfs in /sys":      func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/sys/firmware"}} },
		"tmpfs on /dev":      func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/dev"}} },
		"tmpfs on /dev/pts":  func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/dev/pts"}} },
		"tmpfs unclean":      func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/tmp/../proc"}} },
		"tmpfs relative":     func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "tmp"}} },
		"tmpfs on hosts":     func(in *Input) { in.Tmpfs = []Tmpfs{{Path: "/etc/hosts"}} },
	} {
		t.Run(name, func(t *testing.T) {
			in := input(Defaults(), idmap.ForRoot(0x20000000))
			change(&in)
			if spec, err := Plan(in); err == nil {
				t.Errorf("planned %+v", spec)
			}
		})
	}
}

func TestArgs(t *testing.T) {
	entry, none := "/entry", ""
	for name, c := range map[string]struct {
		image v1.ImageConfig
		o     Options
		want  string
	}{
		"image's command":             {v1.ImageConfig{Cmd: []string{"sh"}}, Options{}, "sh"},
		"image's both":                {v1.ImageConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}, Options{}, "e c"},
		"given command":               {v1.ImageConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}, Options{Args: []string{"a", "b"}}, "e a b"},
		"given entrypoint drops cmd":  {v1.ImageConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}, Options{Entrypoint: &entry}, "/entry"},
		"given entrypoint and args":   {v1.ImageConfig{Cmd: []string{"c"}}, Options{Entrypoint: &entry, Args: []string{"a"}}, "/entry a"},
		"cleared entrypoint and args": {v1.ImageConfig{Entrypoint: []string{"e"}}, Options{Entrypoint: &none, Args: []string{"a"}}, "a"},
	} {
		in := Input{Options: c.o, Image: c.image}
		got, err := in.args()
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestEnv(t *testing.T) {
	in := input(Defaults(), idmap.ForMapped())
	in.TTY = true
	in.Env = []string{"LANG=de", "TERM", "NEW=1", "EMPTY="}
	got, err := in.env()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOSTNAME=0123456789ab", "HOME=/home/sandbox", "LANG=de", "NEW=1", "EMPTY="}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestUserDefaults(t *testing.T) {
	for _, c := range []struct{ given, image, want string }{
		{"", "", DefaultUser}, {"", "web", "web"}, {"root", "web", "root"},
	} {
		if got := (Options{User: c.given}).UserSpec(v1.ImageConfig{User: c.image}); got != c.want {
			t.Errorf("user %q, image's %q: %q, want %q", c.given, c.image, got, c.want)
		}
	}
	in := input(Defaults(), idmap.ForMapped())
	in.User = ResolvedUser{UID: 1000, GID: 1000, Home: "/"}
	if got := in.home(); got != DefaultHome {
		t.Errorf("home of an unknown user: %q", got)
	}
}

// TestSingleUserHasNoCapabilities: that user is the sandbox's uid 0.
func TestSingleUserHasNoCapabilities(t *testing.T) {
	in := input(Defaults(), idmap.ForSingle())
	spec, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	if c := spec.Process.Capabilities; len(c.Bounding)+len(c.Permitted)+len(c.Effective) != 0 {
		t.Errorf("capabilities %+v", c)
	}
	for _, m := range spec.Mounts {
		for _, o := range m.Options {
			if id, ok := strings.CutPrefix(o, "gid="); ok && id != "0" {
				t.Errorf("mount %s has an unmapped group: %q", m.Destination, m.Options)
			}
		}
	}
}

func TestOOMScoreAdj(t *testing.T) {
	in := input(Defaults(), idmap.ForMapped())
	in.Host.OOMScoreAdj, in.OOMScoreAdj = 200, new(500)
	spec, err := Plan(in)
	if err != nil || *spec.Process.OOMScoreAdj != 500 {
		t.Fatalf("%v, %v", spec, err)
	}
}

// TestMountOrder: what is mounted later must not hide what came before.
func TestMountOrder(t *testing.T) {
	in := input(Defaults(), idmap.ForMapped())
	in.Options.Init = true
	in.Tmpfs = []Tmpfs{{Path: "/var/a/b"}, {Path: "/etc"}, {Path: "/var"}, {Path: "/dev/shm", Size: 1}, {Path: "/sbin"}}
	spec, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range spec.Mounts {
		for _, before := range spec.Mounts[:i] {
			if within(before.Destination, m.Destination) {
				t.Errorf("%s is hidden by %s", before.Destination, m.Destination)
			}
		}
	}
}

// TestNoInputAddsPrivilege: whatever the image says, only Options decide.
func TestNoInputAddsPrivilege(t *testing.T) {
	in := input(Defaults(), idmap.ForMapped())
	in.Image.User, in.Image.Volumes = "root", map[string]struct{}{"/proc": {}}
	in.User = ResolvedUser{Home: "/proc"}
	spec, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	base, err := Plan(input(Defaults(), idmap.ForMapped()))
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Mounts) != len(base.Mounts) {
		t.Errorf("%d mounts, not %d", len(spec.Mounts), len(base.Mounts))
	}
	if !slices.Equal(spec.Process.Capabilities.Bounding, base.Process.Capabilities.Bounding) {
		t.Errorf("bounding set %v", spec.Process.Capabilities.Bounding)
	}
	if spec.Linux.Namespaces[0].Type != specs.UserNamespace || !spec.Process.NoNewPrivileges {
		t.Error("no user namespace or new privileges")
	}
}
