// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Directories above a container's cgroup that create has made go with it, also after
// a plan or the create has failed; those in which others have theirs stay, and so
// does what was there before.
func TestCgroupParentsGo(t *testing.T) {
	inSettings(t, func(b *bench) {
		if b.name != "root" {
			return // others may make none
		}
		t := b.t
		there := func(path string) bool {
			return len(glob("/sys/fs/cgroup/*"+path))+len(glob("/sys/fs/cgroup"+path)) > 0
		}
		spec := b.spec("probe", "sleep")
		top := "/cpc/" + filepath.Base(b.dir) + "-top"
		spec.Linux.CgroupsPath = top + "/a/b/one"
		b.create("c1", spec)
		spec.Linux.CgroupsPath = top + "/a/two"
		b.create("c2", spec)
		b.must("delete", "--force", "c1")
		if there(top+"/a/b") || !there(top+"/a/two") {
			t.Errorf("b is there: %v, two: %v", there(top+"/a/b"), there(top+"/a/two"))
		}
		b.must("delete", "--force", "c2")
		for _, change := range []func(*specs.Spec){
			func(s *specs.Spec) { s.Process.Args = []string{"nosuch"} },
			func(*specs.Spec) {},
		} {
			spec := b.spec("probe", "exit", "0")
			spec.Linux.CgroupsPath = top + "-next/x/y"
			change(spec)
			b.run(spec)
			if there(top + "-next") {
				t.Errorf("after %q: parents are left", spec.Process.Args)
			}
		}
		// c1 made them, and c2 was the last.
		for _, path := range []string{top + "/a", top} {
			for _, dir := range append(glob("/sys/fs/cgroup/*"+path), glob("/sys/fs/cgroup"+path)...) {
				_ = os.Remove(dir)
			}
		}
	})
}

func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	return found
}
