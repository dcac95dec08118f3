// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"
	"slices"
	"testing"
)

func TestOwnCgroups(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     nil,
		"9:name=systemd:/\n":   nil,
		"1:cpu:/a::/\n0::/\n":  {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs"},
		"0::/user.slice/a b\n": {"/sys/fs/cgroup/user.slice/a b/cgroup.procs", "/sys/fs/cgroup/unified/user.slice/a b/cgroup.procs"},
	} {
		if got := ownCgroups(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A process joins only the cgroup that it is in, and stays in it.
func TestHurryCgroups(t *testing.T) {
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	hurryCgroups()
	after, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || string(after) != string(before) {
		t.Errorf("moved from %q to %q: %v", before, after, err)
	}
	other := t.TempDir() + "/cgroup.procs"
	if err := os.WriteFile(other, []byte("1\n2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rejoin(other); err == nil {
		t.Error("joins a cgroup that it is not in")
	}
	if data, _ := os.ReadFile(other); string(data) != "1\n2\n" {
		t.Errorf("wrote %q", data)
	}
}
