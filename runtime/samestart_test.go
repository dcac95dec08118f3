// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/seccomp"
)

// envLongWay forces libcontainer's way.
const envLongWay = "CPC_RUNTIME_LONG_WAY"

// envUnified says that the cgroups are.
const envUnified = "CPC_TEST_UNIFIED"

// envBundles names some of the bundles; without it a test takes all.
const envBundles = "CPC_TEST_BUNDLES"

// inBothWays runs a test in each setting, with the quick way and without.
func inBothWays(t *testing.T, test func(b *bench)) {
	t.Helper()
	inSettings(t, func(b *bench) {
		for _, way := range []string{"quick", "long"} {
			b.t.Run(way, func(t *testing.T) {
				if way == "long" {
					t.Setenv(envLongWay, "1")
				}
				test(newBench(t, b.setting))
			})
		}
	})
}

// bundles are like those that the runtime's callers make.
func bundles(b *bench) map[string]func(*specs.Spec) {
	score, umask := 500, uint32(0o27)
	capable := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
		"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
	}
	caps := &specs.LinuxCapabilities{Bounding: capable, Effective: capable, Permitted: capable}
	masked := []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/sys/dev/block"}
	locked := []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	bind := func(source, destination string, options ...string) specs.Mount {
		return specs.Mount{Destination: destination, Type: "bind", Source: filepath.Join(b.dir, source), Options: options}
	}
	all := map[string]func(*specs.Spec){
		"plain": func(*specs.Spec) {},
		"sandbox": func(s *specs.Spec) {
			s.Linux.Seccomp = seccomp.Default(seccomp.Options{})
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = masked, locked
			s.Linux.Sysctl = map[string]string{"net.ipv4.ping_group_range": "0 0", "kernel.msgmax": "4321"}
			s.Process.OOMScoreAdj = &score
			s.Process.Cwd = "/made/for/this"
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 88}, {Type: "RLIMIT_CORE"}}
			s.Process.Env = []string{"PATH=/nosuch:/bin", "A=1", "A=2"}
			s.Mounts = append(s.Mounts,
				bind("host", "/host/tree", "rbind", "ro", "nosuid", "nodev"),
				bind("host/file", "/etc/one", "bind", "ro"),
				bind("closed/in", "/closed", "bind", "ro"),
				bind("host", "/host/again", "rbind", "rprivate"))
		},
		"podman": func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Process.Capabilities, s.Process.NoNewPrivileges = caps, false
			s.Process.User.Umask = &umask
			s.Linux.Seccomp = seccomp.Default(seccomp.Options{})
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = masked, locked
			s.Domainname = "example.org"
			s.Mounts = append(s.Mounts,
				specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
				specs.Mount{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"rprivate", "nosuid", "nodev", "size=1m", "mode=755"}},
				bind("host", "/dev/shm", "bind", "rprivate", "nosuid", "noexec", "nodev"),
				bind("host/file", "/run/.containerenv", "bind", "rprivate"),
				bind("host", "/host", "rbind", "rslave", "rw"))
		},
		"containerd": func(s *specs.Spec) {
			s.Process.Capabilities = caps
			s.Process.NoNewPrivileges = false
			s.Linux.RootfsPropagation = "rslave"
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = masked, locked
			for i, m := range s.Mounts {
				if m.Destination == "/dev" {
					s.Mounts[i].Options = []string{"nosuid", "strictatime", "mode=755", "size=65536k", "ro"}
				}
			}
			s.Mounts = append(s.Mounts,
				specs.Mount{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k", "ro"}},
				bind("host/file", "/etc/hosts", "rbind", "rprivate", "rw"))
		},
		"user": func(s *specs.Spec) {
			if b.size > 1 {
				s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 7}}
			}
			s.Process.Env = append(s.Process.Env, "HOME=")
			s.Linux.RootfsPropagation = "private"
		},
		"shared": func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" },
		// As "spec --rootless" has it: the host's /sys, whose cgroups are mounted over.
		"rootless": func(s *specs.Spec) {
			for i, m := range s.Mounts {
				if m.Destination == "/sys" {
					s.Mounts[i] = specs.Mount{Destination: "/sys", Type: "none", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
				}
			}
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/host", Type: "bind", Source: filepath.Join(b.dir, "host"), Options: []string{"rbind", "rro", "rnosuid"}})
		},
	}
	if names := strings.Fields(os.Getenv(envBundles)); len(names) > 0 {
		maps.DeleteFunc(all, func(name string, _ func(*specs.Spec)) bool { return !slices.Contains(names, name) })
	}
	return all
}

// A first process and what it sees are the same, whether the quick way or
// libcontainer made them.
func TestStartSame(t *testing.T) {
	inSettings(t, func(b *bench) {
		for name, change := range bundles(b) {
			b.t.Run(name, func(t *testing.T) {
				quick := b.bothWays(t, change)
				if !strings.Contains(quick, "mount on") {
					t.Error(quick)
				}
			})
		}
	})
}

// The same in a view of the cgroups that is unified, with and without a user
// namespace.
func TestStartSameUnified(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv(envUnified) == "" {
		t.Skip("needs root")
	}
	if os.Getenv(envUnified) == "" {
		const script = `mount --make-rprivate / && umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"`
		test := filepath.Join(os.Getenv(envTools), "test")
		cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", test, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), envUnified+"=1", envSetting+"=root")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	test := func(b *bench) {
		for name, change := range bundles(b) {
			for _, without := range []specs.LinuxNamespaceType{"", specs.UserNamespace, specs.CgroupNamespace} {
				few := name == "podman" || name == "rootless" // have what matters here
				if without == specs.UserNamespace && b.name == plain || !few && (without == specs.CgroupNamespace || b.name == plain) {
					continue
				}
				b.t.Run(fmt.Sprintf("%s/without %s", name, without), func(t *testing.T) {
					both := func(s *specs.Spec) {
						change(s)
						s.Linux.Resources = nil // there are no controllers
						s.Mounts = append(s.Mounts, specs.Mount{
							Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
							Options: []string{"rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"},
						})
						s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == without })
						if without == specs.UserNamespace {
							s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
						}
					}
					b.bothWays(t, both)
				})
			}
		}
	}
	if os.Getenv(envSetting) == plain {
		test(newBench(t, setting{name: plain, base: uint32(os.Getuid()), size: 1}))
		return
	}
	inSettings(t, test)
	cmd := exec.Command(filepath.Join(os.Getenv(envTools), "test"), "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), envSetting+"="+plain)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("an ordinary user: %v\n%s", err, out)
	}
}

// The same with the cgroups of a host that has several hierarchies, as they are
// mounted where a bundle has no cgroup namespace.
func TestStartSameHierarchies(t *testing.T) {
	if cgroups.IsCgroup2UnifiedMode() {
		t.Skip("needs a host with cgroup v1")
	}
	inSettings(t, func(b *bench) {
		for _, userns := range []bool{true, false} {
			if b.name != "root" && !userns {
				continue
			}
			b.t.Run(fmt.Sprint(userns), func(t *testing.T) {
				change := func(s *specs.Spec) {
					s.Mounts = append(s.Mounts, specs.Mount{
						Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
						Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
					})
					s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
						return n.Type == specs.CgroupNamespace || n.Type == specs.UserNamespace && !userns
					})
					if !userns {
						s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
					}
				}
				quick := b.bothWays(t, change)
				if !strings.Contains(quick, " /sys/fs/cgroup/memory ") {
					t.Error(quick)
				}
			})
		}
	})
}

// The same for an ordinary user outside of a user namespace.
func TestStartSamePlain(t *testing.T) {
	if os.Getenv(envSetting) == "" {
		cmd := exec.Command(filepath.Join(os.Getenv(envTools), "test"), "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), envSetting+"="+plain)
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
		}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	b := newBench(t, setting{name: plain, base: uint32(os.Getuid()), size: 1})
	for name, change := range bundles(b) {
		t.Run(name, func(t *testing.T) {
			b.bothWays(t, change)
		})
	}
}

// The same with a terminal.
func TestStartSameTerminal(t *testing.T) {
	inSettings(t, func(b *bench) {
		views := map[string]string{}
		for _, long := range []string{"", "1"} {
			t := b.t
			t.Setenv(envLongWay, long)
			fresh := newBench(t, b.setting)
			socket := filepath.Join(fresh.dir, "s")
			masters := console(t, socket)
			spec := fresh.spec(append([]string{"probe", "everything"}, ownNamespaces()...)...)
			spec.Process.Terminal = true
			fresh.create("same", spec, "--console-socket", socket)
			master := <-masters
			if master == nil {
				t.Fatal("no terminal received")
			}
			waiting := outsideView(t, fresh.state("same").Pid)
			fresh.must("start", "same")
			inside, _ := io.ReadAll(master) // EIO is the end of a terminal
			_ = master.Close()
			bundle := strings.NewReplacer(fresh.dir, "BUNDLE", "/"+filepath.Base(fresh.dir), "BUNDLE")
			views[long] = bundle.Replace(string(inside)) + waiting
			if !strings.Contains(views[long], " /0 /dev/console ") {
				t.Errorf("no terminal is mounted:\n%s", views[long])
			}
		}
		if diff := differences(views["1"], views[""]); diff != "" {
			b.t.Error(diff)
		}
	})
}

// bothWays expects all of it to be the same, and returns what the quick way's
// process tells.
func (b *bench) bothWays(t *testing.T, change func(*specs.Spec)) string {
	t.Helper()
	long, made := b.everything(t, change, "1")
	quick, alike := b.everything(t, change, "")
	if diff := differences(long+made, quick+alike); diff != "" {
		t.Error(diff)
	}
	return quick
}

// everything returns what a container's process tells, and what was made in its
// root file system. The process started one way or the other.
func (b *bench) everything(t *testing.T, change func(*specs.Spec), long string) (inside, outside string) {
	t.Helper()
	t.Setenv(envLongWay, long)
	fresh := newBench(t, b.setting)
	fresh.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:u:/home/user:/bin/sh\n", 0o644)
	host := filepath.Join(b.dir, "host")
	closed := filepath.Join(b.dir, "closed")
	if err := errors.Join(os.MkdirAll(host, 0o755), os.MkdirAll(filepath.Join(closed, "in"), 0o755), os.Chmod(closed, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fresh.own()
	spec := fresh.spec(append([]string{"probe", "everything"}, ownNamespaces()...)...)
	change(spec)
	fresh.create("same", spec)
	threads := "1"
	if long != "" {
		threads = "more"
	}
	if got := initThreads(fresh.state("same").Pid); got != threads {
		t.Errorf("long way %q: the init that waits has %s threads", long, got)
	}
	waiting := outsideView(t, fresh.state("same").Pid)
	fresh.must("start", "same")
	fresh.waitStatus("same", "stopped")
	out, err := exec.Command("find", filepath.Join(fresh.dir, "rootfs"), "-printf", "%P %y %m %U %G %s %l\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Where the bundle's file system is mounted, its path is shorter.
	bundle := strings.NewReplacer(fresh.dir, "BUNDLE", "/"+filepath.Base(fresh.dir), "BUNDLE")
	return bundle.Replace(fresh.output("same")) + waiting, string(out)
}

// outsideView is what the host sees of an init that waits.
func outsideView(t *testing.T, pid int) string {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid)
	data, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	var view strings.Builder
	for _, line := range regexp.MustCompile(`(?m)^(Name|Umask|Uid|Gid|Groups|SigIgn|Cap\w+|NoNewPrivs|Seccomp\w*):.*\n`).FindAllString(string(data), -1) {
		view.WriteString("waiting " + line)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/status", &st); err != nil { // of root, unless dumpable
		t.Fatal(err)
	}
	limits, err := os.ReadFile(dir + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	// A Go program raises its soft limit, until it executes another.
	limits = regexp.MustCompile(`(?m)^Max open files +\d+ +`).ReplaceAll(limits, []byte("Max open files "))
	_, _ = fmt.Fprintf(&view, "waiting %d:%d\n%s", st.Uid, st.Gid, limits)
	return view.String()
}

// initThreads tells libcontainer's init, a Go process, from the quick one.
func initThreads(pid int) string {
	tasks, _ := filepath.Glob("/proc/" + itoa(uint32(pid)) + "/task/*")
	if len(tasks) > 1 {
		return "more"
	}
	return itoa(uint32(len(tasks)))
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func ownNamespaces() (links []string) {
	files, _ := filepath.Glob("/proc/self/ns/*")
	for _, f := range files {
		if link, err := os.Readlink(f); err == nil {
			links = append(links, link)
		}
	}
	return links
}

// differences are the lines that only one of two texts has.
func differences(long, quick string) string {
	// The number of a namespace, and of a pipe.
	numbers := regexp.MustCompile(`\[\d+\]`)
	count := map[string]int{}
	same := func(text string) string {
		// Nor how many cgroups the host has just now.
		cgroups := regexp.MustCompile(`(?m)^(path /sys/fs/cgroup .* )\d+ *$`)
		return cgroups.ReplaceAllString(numbers.ReplaceAllString(text, "[]"), "$1")
	}
	for line := range strings.Lines(same(long)) {
		count[line]++
	}
	for line := range strings.Lines(same(quick)) {
		count[line]--
	}
	var diff strings.Builder
	for line, n := range count {
		switch {
		case n > 0:
			diff.WriteString("- " + line)
		case n < 0:
			diff.WriteString("+ " + line)
		}
	}
	return diff.String()
}
