// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/runtime"
)

// Why a container was started the long way is told by its state, counted, and
// logged with --debug; the features document lists what the reasons are.
func TestLongWayIsTold(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		annotation := func(name string) string {
			var f struct{ Annotations map[string]string }
			decode(t, b.must("features").stdout, &f)
			return f.Annotations["io.github.claude-pocket-console.cpc-runtime.long-way."+name]
		}
		for _, r := range runtime.Reasons() {
			if !strings.Contains(" "+annotation("reasons")+" ", " "+string(r)+" ") {
				t.Errorf("features: no %s in %q", r, annotation("reasons"))
			}
		}
		told := func(change func(*specs.Spec)) string {
			spec := b.spec("probe", "sleep")
			change(spec)
			b.write(spec)
			if r := b.quiet("create", "c1"); r.code != 0 || strings.Contains(r.stderr, "warning") {
				t.Fatalf("create: %+v", r)
			}
			var s struct{ LongWay string }
			if err := json.Unmarshal([]byte(b.must("state", "c1").stdout), &s); err != nil {
				t.Fatal(err)
			}
			b.must("delete", "--force", "c1")
			return s.LongWay
		}
		if got := told(func(*specs.Spec) {}); got != "" || annotation("counts") != "" {
			t.Errorf("the quick way: %q, counted %q", got, annotation("counts"))
		}
		mount := func(m specs.Mount) string {
			return told(func(s *specs.Spec) { s.Mounts = append(s.Mounts, m) })
		}
		if got := mount(specs.Mount{Destination: "/tmp//y", Type: "tmpfs", Source: "tmpfs"}); got != "mount-path" {
			t.Errorf("a mount point to be cleaned: %q", got)
		}
		if got := mount(specs.Mount{Destination: "/tmp/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"sync"}}); got != "mount-flags" {
			t.Errorf("a flag without an attribute: %q", got)
		}
		if got := annotation("counts"); got != "mount-flags=1 mount-path=1" {
			t.Errorf("counted %q", got)
		}
		b.write(b.spec("probe", "exit", "0"))
		if r := b.cli("--debug", "run", "c1"); !strings.Contains(r.stderr, "only libcontainer does this: debug") {
			t.Errorf("--debug: %+v", r)
		}
	})
}
