// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The host's devices are bound into a user namespace without set-user-ID and
// execution, and work.
func TestDeviceBinds(t *testing.T) {
	inBothWays(t, func(b *bench) {
		r := b.run(b.spec("probe", "cat", "/proc/self/mountinfo", "/dev/null"))
		for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
			options := regexp.MustCompile(` /dev/` + name + ` (\S+) `).FindStringSubmatch(r.stdout)
			if len(options) != 2 || !strings.Contains(options[1], "nosuid") || !strings.Contains(options[1], "noexec") || strings.Contains(options[1], "nodev") {
				b.t.Errorf("%s: %q, want nosuid and noexec, not nodev: %+v", name, options, r)
			}
		}
	})
}

// Only an option makes a bind mount, whatever the type: the file system "bind" is
// unknown, both ways (runtime-spec, mounts).
func TestBindTypeWithoutOption(t *testing.T) {
	inBothWays(t, func(b *bench) {
		spec := b.spec("probe", "exit", "0")
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/dev/mnt", Type: "bind", Source: b.dir, Options: []string{"ro"}})
		if r := b.run(spec); r.code != 1 || !strings.Contains(r.stderr, "no such device") {
			b.t.Errorf("without an option: %+v", r)
		}
		spec.Mounts[len(spec.Mounts)-1].Options = []string{"ro", "bind"}
		if r := b.run(spec); r.code != 0 {
			b.t.Errorf("with one: %+v", r)
		}
	})
}
