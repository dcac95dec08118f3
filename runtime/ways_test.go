// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// longWay is why a container was started the long way; "" if it was not.
func (b *bench) longWay(id string) string {
	b.t.Helper()
	var s struct{ LongWay string }
	if err := json.Unmarshal([]byte(b.must("state", id).stdout), &s); err != nil {
		b.t.Fatal(err)
	}
	return s.LongWay
}

// Links in the place of a mount, or a mask are followed within the root file
// system, as libcontainer does, and no reason for the long way.
func TestThroughLinks(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		for target, name := range map[string]string{"tmp": "var", "/nosuch/there": "etc/made", "../../../host": "up", "/host/file": "abs"} {
			b.link(target, name)
		}
		if err := os.MkdirAll(filepath.Join(b.dir, "rootfs/host"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.file("host/file", "", 0o644)
		b.own()
		spec := b.spec("probe", "sleep")
		spec.Mounts = append(spec.Mounts,
			specs.Mount{Destination: "/var/run", Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: "/etc/made/of", Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: "/up/sys", Type: "sysfs", Source: "sysfs"},
			specs.Mount{Destination: "/up/new", Type: "bind", Source: filepath.Join(b.dir, "config.json"), Options: []string{"bind"}})
		spec.Linux.MaskedPaths = []string{"/abs"}
		b.create("c1", spec)
		if got := b.longWay("c1"); got != "" && os.Getenv(envLongWay) == "" {
			t.Errorf("the long way: %s", got)
		}
		mounts, err := os.ReadFile("/proc/" + strconv.Itoa(b.state("c1").Pid) + "/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range []string{"/tmp/run", "/nosuch/there/of", "/host/sys", "/host/new", "/host/file"} {
			if !strings.Contains(string(mounts), " "+place+" ") {
				t.Errorf("nothing is mounted at %s:\n%s", place, mounts)
			}
		}
	})
}

// A plan is as lenient with /etc/passwd and PATH as libcontainer is: what an image has
// there is no reason to fail.
func TestLenient(t *testing.T) {
	inBothWays(t, func(b *bench) {
		for passwd, home := range map[string]string{
			"+\n\nno entry\nx:y:0\n":                            "HOME=",
			"a:b:zero::: relative :extra:fields\n":              "HOME= relative ",
			"u:x:7:7::/seven:\n  root:x:+0:0:root:/r:/bin/sh\n": "HOME=/r",
			"u:x:7:7::/s\x00even:\nroot:x:1:0:root:/r:\n":       "HOME=/",
		} {
			b.file("etc/passwd", passwd, 0o644)
			spec := b.spec("probe", "look")
			spec.Process.Env = []string{"PATH=:nosuch:/bin"}
			b.write(spec)
			r := b.cli("run", "c1")
			var v view
			if r.code != 0 || json.Unmarshal([]byte(r.stdout), &v) != nil || strings.Contains(r.stderr, "warning") {
				b.t.Fatalf("%q: %+v", passwd, r)
			}
			if all := strings.Join(v.Env, "\n") + "\n"; !strings.Contains(all, home+"\n") {
				b.t.Errorf("%q: %q, want %s", passwd, v.Env, home)
			}
		}
		b.noDefect(b.t)
	})
}

// Hooks that the parent runs (docker's prestart is one) are no reason for the long way.
// They run once, also where a step after them fails, whose error is the same.
func TestHooksRunOnce(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		b.hookDir()
		probe := filepath.Join(os.Getenv(envTools), "probe")
		hook := func(name string) []specs.Hook {
			return []specs.Hook{{Path: probe, Args: []string{"probe", "save", filepath.Join(b.dir, "hooks", name)}}}
		}
		quick := os.Getenv(envLongWay) == ""
		order := filepath.Join(b.dir, "hooks/order")
		try := func(want string, code int, words string, change func(*specs.Spec)) {
			t.Helper()
			spec := b.spec("probe", "sleep")
			spec.Hooks = &specs.Hooks{Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), Poststop: hook("poststop")} //nolint:staticcheck // docker has it
			change(spec)
			b.write(spec)
			if err := os.Truncate(order, 0); err != nil {
				t.Fatal(err)
			}
			r := b.quiet("create", "c1")
			if r.code != code || !strings.HasSuffix(strings.TrimSpace(r.stderr), words) {
				t.Errorf("%+v, want %d %s", r, code, words)
			}
			if r.code == 0 {
				if got := b.longWay("c1"); got != "" && quick {
					t.Errorf("the long way: %s", got)
				}
				b.must("delete", "--force", "c1")
			}
			got, err := os.ReadFile(order)
			if err != nil || strings.Join(strings.Fields(string(got)), " ") != want {
				t.Errorf("hooks %q, %v; want %q", got, err, want)
			}
		}
		all := "prestart createRuntime poststop"
		try(all, 0, "", func(*specs.Spec) {})
		try(all, 127, `exec: "nosuch": executable file not found in $PATH`, func(s *specs.Spec) { s.Process.Args = []string{"nosuch"} })
		try(all, 127, `exec: "/nosuch": stat /nosuch: no such file or directory`, func(s *specs.Spec) { s.Process.Args = []string{"/nosuch"} })
		try(all, 126, `exec: "/bin": is a directory: permission denied`, func(s *specs.Spec) { s.Process.Args = []string{"/bin"} })
		try(all, 126, `exec: "/etc": is a directory: permission denied`, func(s *specs.Spec) { s.Process.Args = []string{"/etc"} })
		// Before them, it is tried anew, and libcontainer has the word.
		try("poststop", 1, "invalid argument", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/x", Type: "tmpfs", Source: "x", Options: []string{"nonsense=1"}})
		})
	})
}
