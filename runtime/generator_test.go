// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// generator changes a bundle at random, by the specification's shape.
type generator struct {
	*rand.Rand
	b *bench
}

// one is true once in n times.
func (g generator) one(n int) bool { return g.IntN(n) == 0 }

// some picks up to n of a list, in the list's order.
func (g generator) some(n int, of ...string) (list []string) {
	for _, s := range of {
		if len(list) < n && g.one(3) {
			list = append(list, s)
		}
	}
	return list
}

func (g generator) change(s *specs.Spec) {
	for range g.IntN(3) {
		s.Mounts = append(s.Mounts, g.mount())
	}
	g.process(s.Process)
	if g.one(5) {
		s.Linux.Devices = append(s.Linux.Devices, g.device())
	}
	if g.one(8) {
		s.Hooks = g.hooks()
	}
	if g.one(6) {
		g.spoil(s)
	}
	var kept []specs.LinuxNamespace
	for _, n := range s.Linux.Namespaces {
		may := n.Type == specs.IPCNamespace || n.Type == specs.CgroupNamespace || n.Type == specs.UTSNamespace || n.Type == specs.PIDNamespace
		if !may || !g.one(5) {
			kept = append(kept, n)
		}
	}
	s.Linux.Namespaces = kept
	s.Linux.RootfsPropagation = []string{"", "", "private", "slave", "shared", "rslave", "rprivate", "rshared"}[g.IntN(8)]
	paths := []string{"/proc/kcore", "/proc/sys", "/proc/nosuch", "/sys/firmware", "/proc/../proc/bus", "/host", "/etc", "/dev/null", "/link/x", "/abs", "/loop/x", "/etc/gone"}
	s.Linux.ReadonlyPaths = g.some(3, paths...)
	// Behind a masked /proc/sys, libcontainer's init misses kernel/cap_last_cap.
	s.Linux.MaskedPaths = g.some(3, slices.DeleteFunc(paths, func(p string) bool { return p == "/proc/sys" })...)
	s.Root.Readonly = g.one(2)
	if g.one(4) {
		s.Linux.Sysctl = map[string]string{[]string{"kernel.msgmax", "net.ipv4.ip_forward"}[g.IntN(2)]: "1"}
	}
}

// link makes symbolic links in the root file system, which mounts and masks lead through.
func (g generator) link() {
	for name, target := range map[string]string{
		"link": "host", "etc/gone": "/nosuch/there", "up": "../../../host", "abs": "/host/file", "pr": "/proc/sys", "loop": "loop", "rootlink": "/",
	} {
		g.b.link(target, name)
	}
}

// spoil makes one thing of a bundle wrong.
func (g generator) spoil(s *specs.Spec) {
	wrong := specs.Mount{Destination: "/dev/w", Type: "tmpfs", Source: "tmpfs"}
	switch g.IntN(8) {
	case 0:
		wrong.Options = []string{"nonsense=1"}
	case 1:
		wrong.Type = "nosuchfs"
	case 2:
		wrong.Type, wrong.Source, wrong.Options = "bind", "/nosuch", []string{"bind"}
	case 3:
		wrong.Destination = "/proc/x"
	case 4:
		s.Process.Env = append(s.Process.Env, []string{"=x", "novalue"}[g.IntN(2)])
	case 5:
		s.Linux.Sysctl = map[string]string{[]string{"kernel.nosuch", "vm.swappiness"}[g.IntN(2)]: "1"}
	case 6:
		s.Process.Env = []string{"PATH=/nosuch"}
	case 7:
		wrong.Type = "bind"
	}
	s.Mounts = append(s.Mounts, wrong)
}

func (g generator) mount() specs.Mount {
	m := specs.Mount{
		Destination: []string{
			"/dev/m", "/dev/shm", "/host", "/etc/one", "/dev/a/../b", "/dev/mqueue", "/dev/x/n",
			"/link/x", "/link", "/etc/gone/x", "/up/y", "/abs", "/pr/kernel", "/loop", "/rootlink",
		}[g.IntN(15)],
		Type:   []string{"bind", "none", "tmpfs", "mqueue", "sysfs", "devpts"}[g.IntN(6)],
		Source: []string{filepath.Join(g.b.dir, "rootfs/host"), filepath.Join(g.b.dir, "rootfs/host/file"), "rootfs/host"}[g.IntN(3)],
	}
	if m.Type == "bind" || m.Type == "none" || g.one(4) {
		m.Options = g.some(1, "rbind", "bind", "rbind")
	}
	m.Options = append(m.Options, g.some(4, "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime",
		"strictatime", "nodiratime", "nosymfollow", "rprivate", "rslave", "shared", "unbindable", "sync", "rro")...)
	if m.Type == "tmpfs" {
		m.Options = append(m.Options, g.some(2, "mode=755", "size=64k", "tmpcopyup", "mode=1777")...)
	}
	return m
}

func (g generator) process(p *specs.Process) {
	if g.one(3) {
		p.Cwd = []string{"/made/here", "/proc/self", "/bin/probe", "/nosuch/..", "/dev"}[g.IntN(5)]
	}
	if g.one(3) {
		umask := uint32(g.IntN(0o1000))
		p.User.Umask = &umask
	}
	if g.one(3) {
		score := g.IntN(1000)
		p.OOMScoreAdj = &score
	}
	if g.one(3) {
		p.User.UID, p.User.GID = uint32(g.IntN(2000)), uint32(g.IntN(2000))
		p.User.AdditionalGids = []uint32{uint32(g.IntN(70000))}
	}
	if g.one(4) {
		p.Rlimits = []specs.POSIXRlimit{{Type: []string{"RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_STACK", "RLIMIT_NPROC"}[g.IntN(4)], Soft: 50, Hard: 60}}
	}
	names := g.some(4, "CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NOSUCH", "CAP_SYS_ADMIN", "CAP_NET_RAW")
	p.Capabilities = &specs.LinuxCapabilities{Bounding: names, Permitted: names, Effective: names, Inheritable: g.some(1, names...), Ambient: g.some(1, names...)}
	p.NoNewPrivileges = g.one(2)
	if p.Terminal = g.one(5); p.Terminal && g.one(2) {
		p.ConsoleSize = &specs.Box{Width: uint(g.IntN(300)), Height: uint(g.IntN(100))}
	}
	p.Env = append(p.Env, g.some(2, "HOME=", "A=1", "A=2", "HOME=/h")...)
	if g.one(8) {
		p.Args = [][]string{{"nosuch"}, {"/etc/passwd"}, {"/bin"}, {"/bin/probe/x"}}[g.IntN(4)]
	}
}

// device is one of the host's, or with a name of its own.
func (g generator) device() specs.LinuxDevice {
	mode, id := os.FileMode(g.IntN(0o1000)), uint32(g.IntN(2))
	d := specs.LinuxDevice{
		Path: []string{"/dev/full", "/dev/own", "/dev/a/b", "/dev/tty", "/dev/../dev/x", "/host/file"}[g.IntN(6)],
		Type: []string{"c", "c", "b", "p"}[g.IntN(4)], Major: 1, Minor: int64(3 + g.IntN(6)),
	}
	if g.one(2) {
		d.FileMode, d.UID, d.GID = &mode, &id, &id
	}
	return d
}

// hooks are of any kind; they note what they are told.
func (g generator) hooks() *specs.Hooks {
	probe := filepath.Join(os.Getenv(envTools), "probe")
	of := func(kind string) (list []specs.Hook) {
		for i := range g.IntN(3) {
			h := specs.Hook{Path: probe, Args: []string{"probe", "save", filepath.Join(g.b.dir, "hooks", fmt.Sprintf("%s-%d", kind, i))}}
			if g.one(8) {
				h.Args = []string{"probe", "exit", "3"}
			}
			list = append(list, h)
		}
		return list
	}
	return &specs.Hooks{
		Prestart: of("prestart"), CreateRuntime: of("createRuntime"), CreateContainer: of("createContainer"), //nolint:staticcheck // that there is
		Poststop: of("poststop"),
	}
}

// foreground runs a container in the foreground, which comes to its end by a signal:
// its own, unless it is pid 1, or one from outside.
func (g generator) foreground(s *specs.Spec) string {
	own := !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	if s.Process.Args = []string{"probe", "sleep"}; own {
		s.Process.Args = []string{"probe", "suicide", deadly[g.IntN(len(deadly))]}
	}
	g.b.write(s)
	done := make(chan result, 1)
	go func() { done <- g.b.cli("run", "--keep", "same") }()
	nothing, end := []string{"USR1", "WINCH", "CHLD"}[g.IntN(3)], []string{"KILL", "TERM", "INT", "HUP"}[g.IntN(4)]
	view := ""
	if !own && g.b.runs(done) {
		kill := g.b.cli("kill", "same", nothing)
		view = fmt.Sprintf("kill %s: %d %s\n", nothing, kill.code, kill.stderr)
	}
	testkit.Eventually(g.b.t, testkit.Patience, "the container in the foreground ends", func() bool {
		if len(done) == 0 && !own { // again, as a pid 1 that is not yet ready ignores it
			g.b.cli("kill", "same", end)
		}
		return len(done) > 0
	})
	r := <-done
	return fmt.Sprintf("%srun: %d %s%s", view, r.code, r.stdout, lastLine(r.stderr))
}

// deadly are signals that end a process, by number.
var deadly = []string{"1", "2", "3", "6", "9", "11", "15", "31", "35", "64"}

// runs waits until the container runs; false if there is nothing to wait for.
func (b *bench) runs(done chan result) bool {
	var s state
	testkit.Eventually(b.t, testkit.Patience, "the container runs or is over", func() bool {
		r := b.cli("state", "same")
		return len(done) > 0 || r.code == 0 && json.Unmarshal([]byte(r.stdout), &s) == nil && s.Status != "created" && s.Status != "creating"
	})
	return len(done) == 0 && s.Status == "running"
}

// stopCreated sends a signal to a container that waits for start.
func (g generator) stopCreated() string {
	sig := []string{"TERM", "USR1", "INT", "HUP", "QUIT", "36"}[g.IntN(6)]
	g.b.must("kill", "same", sig)
	if sig == "USR1" || sig == "36" {
		return "goes on after " + sig + g.b.told()
	}
	g.b.waitStatus("same", "stopped")
	return "stopped by " + sig
}

// join executes a further process in a container that sleeps, and ends that.
func (g generator) join() string {
	args := []string{"exec"}
	for _, option := range [][]string{
		{"--cwd", "/made"}, {"--cwd", "/dev"}, {"--env", "A=3"}, {"--env", "HOME=/x"}, {"--user", "1:2"}, {"--additional-gids", "5"}, {"--cap", "CAP_KILL"}, {"--no-new-privs=false"},
	} {
		if g.one(4) {
			args = append(args, option...)
		}
	}
	args = append(args, "same")
	die := []string{"probe", "suicide", deadly[g.IntN(len(deadly))]}
	args = append(args, [][]string{append([]string{"probe", "everything"}, ownNamespaces()...), {"probe", "exit", "7"}, {"nosuch"}, {"/bin"}, die, die}[min(g.IntN(9), 6)%6]...)
	r := g.b.cli(args...)
	// The pids that the ways take for themselves are not the same.
	pids := regexp.MustCompile(`(?m)^(Pid|Tgid|NS\w+|session).*\n|/proc/\d+`)
	view := fmt.Sprintf("exec %q: %d %s%s\n", args[1:], r.code, pids.ReplaceAllString(r.stdout, ""), lastLine(r.stderr))
	g.b.must("kill", "same", "KILL")
	return view
}
