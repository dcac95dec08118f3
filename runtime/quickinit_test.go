// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/golden"
)

// refused says whether an error leads the long way by a reason that has a name.
func refused(err error) bool {
	e, ok := errors.AsType[longWayError](err)
	return ok && slices.Contains(Reasons(), e.reason) && e.reason != ReasonPlanFailed
}

// simple is a container that can be made the quick way.
func simple() *beginner {
	no := false
	b := &beginner{
		id: "c1", cgroup: func() (string, error) { return "/sys/fs/cgroup/c1", nil }, host: host{unified: true, kcore: true, setgroups: true},
		process: &libcontainer.Process{Args: []string{"/bin/sh"}, Env: []string{"A=1", "A=2"}, Cwd: "/work", UID: 1, GID: 2, AdditionalGroups: []int{3}, NoNewPrivileges: &no, ConsoleSocket: os.Stdin, ConsoleWidth: 80, ConsoleHeight: 24},
	}
	b.config = &configs.Config{
		Rootfs: "/bundle/rootfs", Readonlyfs: true, RootPropagation: unix.MS_SHARED | unix.MS_REC, Hostname: "host", Domainname: "domain", AppArmorProfile: "profile",
		Capabilities: &configs.Capabilities{Bounding: []string{"CAP_CHOWN"}},
		Namespaces: configs.Namespaces{
			{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWCGROUP}, {Type: configs.NEWNET, Path: "/run/netns/n"},
		},
		UIDMappings: []configs.IDMap{{HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
		GIDMappings: []configs.IDMap{{HostID: 1000, Size: 1}},
		Networks:    []*configs.Network{{Type: "loopback"}},
		Sysctl:      map[string]string{"net.ipv4.ping_group_range": "0 0", "kernel.msgmax": "1"},
		MaskPaths:   []string{"/proc/kcore", "/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
		Devices: []*devices.Device{{Path: "/dev/null", FileMode: 0o666, Rule: devices.Rule{Type: 'c', Major: 1, Minor: 3}}, {Path: "/dev/ptmx"}, {}},
		Mounts: []*configs.Mount{
			{Destination: "/proc", Device: "proc", Source: "proc", Flags: unix.MS_NOSUID},
			{Destination: "/dev", Device: "tmpfs", Source: "tmpfs", Flags: unix.MS_STRICTATIME | unix.MS_RDONLY, Data: "mode=755,size=1m"},
			{Destination: "/dev/pts", Device: "devpts", Source: "devpts", Data: "newinstance,gid=5"},
			{Destination: "/sys", Device: "sysfs", Source: "sysfs", Flags: unix.MS_RDONLY | unix.MS_NODEV},
			{Destination: "/sys/fs/cgroup", Device: "cgroup", Source: "cgroup", Flags: unix.MS_RDONLY, PropagationFlags: []int{unix.MS_PRIVATE}},
			{Destination: "/etc/hosts", Device: "bind", Source: "/run/hosts", Flags: unix.MS_BIND | unix.MS_RDONLY, ClearedFlags: unix.MS_NOEXEC, PropagationFlags: []int{unix.MS_PRIVATE | unix.MS_REC}},
			{Destination: "/data", Device: "bind", Source: "/srv", Flags: unix.MS_BIND | unix.MS_REC},
		},
	}
	return b
}

// crun's annotation leaves the caller's groups alone.
func TestPlanKeepsGroups(t *testing.T) {
	for value, want := range map[string]bool{"1": false, "0": true} {
		b := simple()
		b.config.Labels = []string{"bundle=/b", "run.oci.keep_original_groups=" + value}
		plan, err := b.make()
		if err != nil {
			t.Fatal(err)
		}
		if plan.SetGroups != want {
			t.Errorf("%s: groups are set: %v, want %v", value, plan.SetGroups, want)
		}
	}
}

// The steps of a container that has some of everything.
func TestPlanGolden(t *testing.T) {
	plan, err := simple().make()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i, s := range plan.Steps {
		_, _ = fmt.Fprintf(&text, "%d: kind %d flags %#x number %#x set %#x clear %#x %d:%d %q\n", i, s.Kind, s.Flags, s.Number, s.Set, s.Clear, s.Major, s.Minor, s.Text)
	}
	steps := *plan
	steps.Steps, steps.Umask = nil, nil
	_, _ = fmt.Fprintf(&text, "%+v umask %#o\n", steps, *plan.Umask)
	golden.Text(t, "plan.golden", text.String())
}

// Every field of a container, a mount, a device and a process is either in a
// plan, or seen to by libcontainer's first process, or leads the long way. A new
// one must be looked at.
func TestPlanKnowsAll(t *testing.T) {
	for _, of := range []struct {
		kind           reflect.Type
		planned, other []string
		refused        func(*beginner) reflect.Value
	}{
		{
			reflect.TypeFor[configs.Config](),
			[]string{
				"Rootfs", "Umask", "Readonlyfs", "RootPropagation", "Mounts", "Devices", "Hostname", "Domainname", "Namespaces", "Capabilities",
				"Networks", "OomScoreAdj", "UIDMappings", "GIDMappings", "MaskPaths", "ReadonlyPaths", "Sysctl", "Seccomp", "NoNewKeyring", "RootlessEUID", "AppArmorProfile",
			},
			[]string{
				"Cgroups", "Rlimits", "Version", "Labels", "RootlessCgroups",
				"ExecCPUAffinity", // of further processes
				"NoNewPrivileges", // always given with the process
				"Hooks",           // a map, see below
			},
			func(b *beginner) reflect.Value { return reflect.ValueOf(b.config).Elem() },
		},
		{
			reflect.TypeFor[configs.Mount](),
			[]string{"Source", "Destination", "Device", "Flags", "ClearedFlags", "PropagationFlags", "Data", "RecAttr"},
			[]string{"Relabel"},
			func(b *beginner) reflect.Value { return reflect.ValueOf(b.config.Mounts[5]).Elem() },
		},
		{
			reflect.TypeFor[devices.Device](), []string{"Rule", "Path", "FileMode", "Uid", "Gid"}, nil, nil,
		},
		{
			reflect.TypeFor[libcontainer.Process](),
			[]string{"Args", "Env", "UID", "GID", "AdditionalGroups", "Cwd", "Capabilities", "NoNewPrivileges", "AppArmorProfile", "ConsoleSocket", "ConsoleWidth", "ConsoleHeight"},
			[]string{
				"Stdin", "Stdout", "Stderr", "Rlimits", "Init", "LogLevel",
				"CPUAffinity", // of further processes
				"ops", "clonedExes",
			},
			func(b *beginner) reflect.Value { return reflect.ValueOf(b.process).Elem() },
		},
	} {
		for field := range of.kind.Fields() {
			if slices.Contains(of.planned, field.Name) || slices.Contains(of.other, field.Name) {
				continue
			}
			if of.refused == nil {
				t.Errorf("%v.%s: what does a plan do with it?", of.kind, field.Name)
				continue
			}
			b := simple()
			something(of.refused(b).FieldByIndex(field.Index))
			if _, err := b.make(); !refused(err) {
				t.Errorf("%v.%s: what does a plan do with it? (%v)", of.kind, field.Name, err)
			}
		}
	}
}

// something gives a value that is not what it is by default.
func something(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(1)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	default:
		panic(v.Type())
	}
}

// What a plan cannot say, or should not, goes the long way.
func TestPlanRefuses(t *testing.T) {
	mount := func(m configs.Mount) func(*beginner) {
		return func(b *beginner) { b.config.Mounts = append(b.config.Mounts, &m) }
	}
	bind := func(m configs.Mount) func(*beginner) {
		m.Device, m.Flags = "bind", m.Flags|unix.MS_BIND
		if m.Source == "" {
			m.Source = "/srv"
		}
		return mount(m)
	}
	for name, change := range map[string]func(*beginner){
		"hooks":                     func(b *beginner) { b.config.Hooks = configs.Hooks{configs.CreateContainer: {configs.FuncHook{}}} },
		"a network":                 func(b *beginner) { b.config.Networks[0].Type = "veth" },
		"no mount namespace":        func(b *beginner) { b.config.Namespaces = b.config.Namespaces[2:] },
		"a mount namespace to join": func(b *beginner) { b.config.Namespaces[1].Path = "/ns" },
		"a user namespace to join":  func(b *beginner) { b.config.Namespaces[0].Path = "/ns" },
		"pids and a user namespace": func(b *beginner) { b.config.Namespaces[2].Path = "/ns" },
		"a time namespace": func(b *beginner) {
			b.config.Namespaces = append(b.config.Namespaces, configs.Namespace{Type: configs.NEWTIME})
		},
		"newuidmap":                 func(b *beginner) { b.config.RootlessEUID, b.process.AdditionalGroups = true, nil },
		"groups":                    func(b *beginner) { b.config.RootlessEUID = true },
		"no capabilities":           func(b *beginner) { b.config.Capabilities = nil },
		"an unknown capability":     func(b *beginner) { b.config.Capabilities.Bounding = []string{"CAP_X"} },
		"a variable without a name": func(b *beginner) { b.process.Env = []string{"x"} },
		"no procfs":                 func(b *beginner) { b.config.Mounts = b.config.Mounts[1:] },
		"two procfs":                mount(configs.Mount{Destination: "/proc", Device: "proc"}),
		"procfs elsewhere":          mount(configs.Mount{Destination: "/p", Device: "proc"}),
		"over procfs":               mount(configs.Mount{Destination: "/proc", Device: "tmpfs"}),
		"in procfs":                 bind(configs.Mount{Destination: "/proc/sys"}),
		"a root":                    mount(configs.Mount{Destination: "/", Device: "tmpfs"}),
		"a path with ..":            mount(configs.Mount{Destination: "/a/../proc", Device: "tmpfs"}),
		"a relative path":           mount(configs.Mount{Destination: "a", Device: "tmpfs"}),
		"a path with the root's":    mount(configs.Mount{Destination: "/bundle/rootfs/proc", Device: "tmpfs"}),
		"another file system":       mount(configs.Mount{Destination: "/a", Device: "ext4"}),
		"an odd option":             mount(configs.Mount{Destination: "/a", Device: "tmpfs", Data: "mode=1,,x"}),
		"an option without a value": mount(configs.Mount{Destination: "/a", Device: "tmpfs", Data: "mode="}),
		"an odd flag":               mount(configs.Mount{Destination: "/a", Device: "tmpfs", Flags: unix.MS_SYNCHRONOUS}),
		"two access times":          mount(configs.Mount{Destination: "/a", Device: "tmpfs", Flags: unix.MS_NOATIME | unix.MS_STRICTATIME}),
		"cgroup v1":                 func(b *beginner) { b.host.unified = false },
		"a bind mount on /dev":      bind(configs.Mount{Destination: "/dev"}),
		"a bind mount's times":      bind(configs.Mount{Destination: "/a", Flags: unix.MS_NOATIME}),
		"a relative source":         bind(configs.Mount{Destination: "/a", Source: "a"}),
		"a masked path with ..":     func(b *beginner) { b.config.MaskPaths = []string{"/proc/../x"} },
		"a locked relative path":    func(b *beginner) { b.config.ReadonlyPaths = []string{"x"} },
		"a fifo":                    func(b *beginner) { b.config.Devices[0].Type = 'p' },
		"a device with ..":          func(b *beginner) { b.config.Devices[0].Path = "/dev/../x" },
	} {
		b := simple()
		change(b)
		if plan, err := b.make(); !refused(err) {
			t.Errorf("%s: %+v, %v", name, plan, err)
		}
	}
}

func TestPlanStringsAreWhole(t *testing.T) {
	b := simple()
	b.config.Hostname = "a\x00b"
	plan, err := b.make()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.File(); err == nil {
		t.Error("a null byte is passed on")
	}
}
