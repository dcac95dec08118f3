// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"slices"
	"testing"
)

// TestBoundTmpfs: files in memory have half of the limit together where nobody has said
// how much, and what was said stays.
func TestBoundTmpfs(t *testing.T) {
	const m = 1 << 20
	sizes := func(o Options) (out []int64) {
		for _, t := range o.Tmpfs {
			out = append(out, t.Size/m)
		}
		return append(out, o.Space.Home/m, o.Space.System/m, o.ShmSize/m)
	}
	for name, c := range map[string]struct {
		memory   int64 // MiB
		given    []Tmpfs
		shmGiven bool
		want     []int64 // of /tmp and others in order, then home, the system's places, /dev/shm
	}{
		"defaults":                 {2048, nil, false, []int64{448, 448, 64, 64}},
		"a small limit":            {200, nil, false, []int64{31, 31, 12, 25}},
		"given /dev/shm stays":     {200, nil, true, []int64{12, 12, 12, 64}},
		"no limit":                 {0, nil, false, []int64{1024, 1024, 64, 64}},
		"a limit that is not full": {4096, nil, false, []int64{1024, 1024, 64, 64}},
		"both given":               {2048, []Tmpfs{{Path: "/tmp", Size: 1 << 30}, {Path: DefaultHome, Size: 1 << 30}}, false, []int64{1024, 1024, 128, 64, 64}},
		"one given":                {2048, []Tmpfs{{Path: "/tmp", Size: 512 * m}}, false, []int64{512, 1024, 64, 64}},
		"given without a size":     {2048, []Tmpfs{{Path: "/x"}}, false, []int64{224, 448, 224, 64, 64}},
		"given more than half":     {2048, []Tmpfs{{Path: "/tmp", Size: 2 << 30}}, false, []int64{2048, 128, 64, 64}},
	} {
		o := Defaults()
		o.Limits.Memory = c.memory * m
		o.Tmpfs = MergeTmpfs(o.Tmpfs, c.given)
		before := slices.Clone(o.Tmpfs)
		kept := o.Tmpfs
		o.BoundTmpfs(c.given, c.shmGiven)
		if got := sizes(o); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v MiB", name, got, c.want)
		}
		for i := range kept {
			if kept[i].Size != before[i].Size {
				t.Errorf("%s: the caller's own list was changed", name)
			}
		}
	}
}
