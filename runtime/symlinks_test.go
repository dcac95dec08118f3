// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/runtime/enter"
)

func TestTakeSymlinks(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	spec := &specs.Spec{Mounts: []specs.Mount{
		{Destination: "/a", Source: link, Options: []string{"bind"}},
		{Destination: "/b", Source: link, Options: []string{"bind", copySymlink}},
		{Destination: "/c", Source: dir, Options: []string{copySymlink, "bind"}},
	}}
	links, err := takeSymlinks(spec)
	if err != nil {
		t.Fatal(err)
	}
	if want := []symlink{{before: 1, target: "target", path: "/b"}}; !reflect.DeepEqual(links, want) {
		t.Errorf("links %v, want %v", links, want)
	}
	if len(spec.Mounts) != 2 || spec.Mounts[1].Destination != "/c" || !slices.Equal(spec.Mounts[1].Options, []string{"bind"}) {
		t.Errorf("mounts %v", spec.Mounts)
	}
	spec.Mounts = []specs.Mount{{Destination: "/d", Source: dir + "/nosuch", Options: []string{copySymlink}}}
	if _, err := takeSymlinks(spec); err == nil || !strings.Contains(err.Error(), "mount /d: ") {
		t.Errorf("error %v", err)
	}

	b := simple()
	b.links = []symlink{{before: 0, target: "x", path: "/first"}, {before: len(b.config.Mounts), target: "y", path: "/last"}}
	plan, err := b.make()
	if err != nil {
		t.Fatal(err)
	}
	at := func(text ...string) int {
		return slices.IndexFunc(plan.Steps, func(s enter.Step) bool {
			return slices.Equal(s.Text, text) && s.Kind == enter.Link
		})
	}
	mount := slices.IndexFunc(plan.Steps, func(s enter.Step) bool { return s.Kind == enter.Mount || s.Kind == enter.Bind })
	if first, last := at("x", "/first"), at("y", "/last"); first < 0 || first > mount || last < mount {
		t.Errorf("links at %d and %d, the first mount at %d", first, last, mount)
	}
}
