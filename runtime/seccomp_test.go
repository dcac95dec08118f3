// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/seccomp"
)

// everyCapability is what the filter must hold against by itself.
func everyCapability() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT",
		"CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_RESOURCE", "CAP_MKNOD", "CAP_SYS_BOOT",
	}
}

// calls runs the probe under a filter (nil: none) with many capabilities.
func (b *bench) calls(verb string, filter *specs.LinuxSeccomp) map[string]unix.Errno {
	b.t.Helper()
	spec := b.spec("probe", verb)
	caps := everyCapability()
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	spec.Linux.Seccomp = filter
	r := b.run(spec)
	if r.code != 0 {
		b.t.Fatalf("probe %s: exit %d: %s", verb, r.code, r.stderr)
	}
	var results map[string]unix.Errno
	if err := json.Unmarshal([]byte(r.stdout), &results); err != nil {
		b.t.Fatalf("probe %s: %v: %s", verb, err, r.stdout)
	}
	return results
}

// wanted is the errno that a call of the probe is to give.
func wanted(name string) unix.Errno {
	switch {
	case name == "clone3" || name == "nosys 4000":
		return unix.ENOSYS
	case name == "socket netfilter" || name == "socket audit":
		return unix.EPROTONOSUPPORT
	case strings.HasPrefix(name, "socket "):
		return unix.EAFNOSUPPORT
	case strings.HasPrefix(name, "ok "):
		return 0
	case strings.HasPrefix(name, "notty "):
		return unix.ENOTTY
	}
	return unix.EPERM
}

// Each call that the default profile takes away is refused with the errno that
// it documents, whatever capabilities the sandbox has.
func TestDefaultSeccomp(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		results := b.calls("calls", seccomp.Default(seccomp.Options{Caps: []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"}}))
		if len(results) < 45 {
			t.Errorf("only %d calls tried", len(results))
		}
		for name, got := range results {
			if want := wanted(name); got != want {
				t.Errorf("%s: %d (%v), want %d", name, got, got, want)
			}
		}
		// Without the filter these are refused otherwise or not at all, so it
		// is the filter that was seen above.
		for name, got := range b.calls("calls", nil) {
			switch name {
			case "unshare net", "clone3", "mount", "umount2", "open_tree", "keyctl", "io_uring_enter", "socket packet",
				"ioctl TIOCSTI", "ioctl TIOCSTI high bits", "personality 0x400000", "chroot", "process_vm_readv":
				if got == wanted(name) {
					t.Errorf("%s without a filter: %v too", name, got)
				}
			}
		}
	})
}

// The default profile leaves the 32-bit and x32 interfaces out: using one ends
// the thread.
func TestDefaultSeccomp32(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		control := b.calls("calls32", nil)
		if len(control) == 0 || control["ok getpid"] != 0 {
			t.Skip("no 32-bit system calls on this machine")
		}
		for _, verb := range []string{"calls32", "callsx32"} {
			spec := b.spec("probe", verb)
			spec.Linux.Seccomp = seccomp.Default(seccomp.Options{})
			if r := b.run(spec); r.code != 99 || r.stdout != "" {
				t.Errorf("probe %s: %+v", verb, r)
			}
		}
	})
}

// The program in the container runs under the filter, and so does exec.
func TestSeccompMode(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		spec := b.spec("probe", "sleep")
		spec.Linux.Seccomp = seccomp.Default(seccomp.Options{})
		b.create("c1", spec)
		b.must("start", "c1")
		var v view
		decode(t, b.must("exec", "c1", "probe", "look").stdout, &v)
		if v.Status["Seccomp"] != "2" {
			t.Errorf("Seccomp %q, want 2", v.Status["Seccomp"])
		}
	})
}
