// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// How many random bundles a setting tries, and from which seed on.
const (
	envRandom = "CPC_TEST_RANDOM"
	envSeed   = "CPC_TEST_SEED"
)

// Whatever a bundle says, the two ways of starting come to the same: the same error,
// or the same process, mounts, files and answers to signals. The bundles are random;
// a difference names the seed that makes it anew.
func TestStartSameRandom(t *testing.T) {
	inSettings(t, func(b *bench) {
		count, seed := 8, uint64(1)
		if n, err := strconv.Atoi(os.Getenv(envRandom)); err == nil {
			count = n
		}
		if n, err := strconv.ParseUint(os.Getenv(envSeed), 10, 64); err == nil {
			seed = n
		}
		made, begin := 0, time.Now()
		for i := range uint64(count) {
			if os.Getenv(envRandom) == "" && i >= 2 && time.Since(begin) > 5*time.Second {
				break // a slow machine
			}
			b.t.Run(fmt.Sprintf("seed=%d", seed+i), func(t *testing.T) {
				long := b.outcome(t, seed+i, "1")
				quick := b.outcome(t, seed+i, "")
				if diff := differences(long, quick); diff != "" {
					t.Errorf("seed %d:\n%s", seed+i, diff)
				}
				if !strings.HasPrefix(quick, "create: ") {
					made++
				}
			})
		}
		if made == 0 && time.Since(begin) < 5*time.Second {
			b.t.Error("no bundle could be made")
		}
	})
}

// outcome is all that can be told of a random container.
func (b *bench) outcome(t *testing.T, seed uint64, long string) string {
	t.Helper()
	t.Setenv(envLongWay, long)
	fresh := newBench(t, b.setting)
	fresh.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	if err := os.MkdirAll(filepath.Join(fresh.dir, "rootfs/host"), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh.file("host/file", "", 0o644)
	random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // the same each time
	spec := fresh.spec(append([]string{"probe", "everything"}, ownNamespaces()...)...)
	g := generator{random, fresh}
	g.change(spec)
	fresh.own()
	fresh.write(spec)
	numbers := strings.NewReplacer(fresh.dir, "BUNDLE", "/"+filepath.Base(fresh.dir), "BUNDLE")
	words := regexp.MustCompile(`fd/\d+`)
	if r := fresh.into("create", "same"); r.code != 0 {
		last := lastLine(r.stderr)
		return numbers.Replace(fmt.Sprintf("create: %d %s\n", r.code, words.ReplaceAllString(last, "fd/N")))
	}
	t.Cleanup(func() { fresh.must("delete", "--force", "same") })
	view := outsideView(t, fresh.state("same").Pid)
	if g.one(4) {
		sig := []string{"TERM", "USR1", "INT", "HUP", "QUIT", "36"}[g.IntN(6)]
		fresh.must("kill", "same", sig)
		if sig != "USR1" && sig != "36" {
			fresh.waitStatus("same", "stopped")
			return view + "stopped by " + sig
		}
	}
	r := fresh.cli("start", "same")
	view += fmt.Sprintf("start: %d %s\n", r.code, numbers.Replace(r.stderr))
	fresh.waitStatus("same", "stopped")
	files, err := exec.Command("find", filepath.Join(fresh.dir, "rootfs"), "-printf", "%P %y %m %U %G %s %l\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(filepath.Join(fresh.dir, "same.out"))
	if err != nil {
		t.Fatal(err)
	}
	return numbers.Replace(view + string(out) + string(files))
}

// into is cli with the output in the container's file.
func (b *bench) into(verb, id string) result {
	b.t.Helper()
	out, err := os.Create(filepath.Join(b.dir, id+".out"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(b.runtime, "--root", b.states, verb, id)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, out, out
	_ = cmd.Run() // the status is looked at
	return result{code: cmd.ProcessState.ExitCode(), stderr: b.output(id)}
}

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
	if g.one(6) {
		g.spoil(s)
	}
	var kept []specs.LinuxNamespace
	for _, n := range s.Linux.Namespaces {
		may := n.Type == specs.IPCNamespace || n.Type == specs.CgroupNamespace || n.Type == specs.UTSNamespace
		if !may || !g.one(5) {
			kept = append(kept, n)
		}
	}
	s.Linux.Namespaces = kept
	s.Linux.RootfsPropagation = []string{"", "", "private", "slave", "shared", "rslave", "rprivate", "rshared"}[g.IntN(8)]
	paths := []string{"/proc/kcore", "/proc/sys", "/proc/nosuch", "/sys/firmware", "/proc/../proc/bus", "/host", "/etc", "/dev/null"}
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = g.some(3, paths...), g.some(3, paths...)
	s.Root.Readonly = g.one(2)
	if g.one(4) {
		s.Linux.Sysctl = map[string]string{[]string{"kernel.msgmax", "net.ipv4.ip_forward"}[g.IntN(2)]: "1"}
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
		Destination: []string{"/dev/m", "/dev/shm", "/host", "/etc/one", "/dev/a/../b", "/dev/mqueue", "/dev/x/n"}[g.IntN(7)],
		Type:        []string{"bind", "none", "tmpfs", "mqueue", "sysfs", "devpts"}[g.IntN(6)],
		Source:      []string{filepath.Join(g.b.dir, "rootfs/host"), filepath.Join(g.b.dir, "rootfs/host/file"), "rootfs/host"}[g.IntN(3)],
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
	p.Env = append(p.Env, g.some(2, "HOME=", "A=1", "A=2", "HOME=/h")...)
	if g.one(8) {
		p.Args = [][]string{{"nosuch"}, {"/etc/passwd"}, {"/bin"}, {"/bin/probe/x"}}[g.IntN(4)]
	}
}
