// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/golden"
)

func everyLimit() Limits {
	return Limits{
		Memory: 2 << 30, Swap: 3 << 30, Reservation: 1 << 30, High: 1900 << 20, OOMGroup: true, MilliCPU: 1500, Period: 50000, Shares: 512,
		CPUs: "0-1", Mems: "0", Pids: 100, IOWeight: 300, Rates: []Rate{
			{Kind: ReadBps, Device: "/dev/vda", Major: 254, Rate: 1 << 20},
			{Kind: WriteBps, Device: "/dev/vda", Major: 254, Rate: 2 << 20},
			{Kind: ReadIOPS, Device: "/dev/vda", Major: 254, Rate: 100},
			{Kind: WriteIOPS, Device: "/dev/vda", Major: 254, Rate: 200},
		},
	}
}

func every(layout Layout) Host {
	return Host{
		Layout: layout, Driver: DriverFS, Privileged: true, Base: unifiedMount, Controllers: controllers(), SwapLimit: true,
		IOWeight: true, Sets: Sets{CPUs: "0-3", Mems: "0"},
	}
}

// TestResourcesGolden: what the runtime is told, at the start and when every
// limit is taken away that can be.
func TestResourcesGolden(t *testing.T) {
	for _, layout := range []Layout{Unified, Legacy} {
		p, err := every(layout).Plan("abc", everyLimit())
		if err != nil {
			t.Fatal(err)
		}
		less := Limits{CPUs: "0", Mems: "0", Rates: p.Limits.Rates}
		to, change, err := p.Change(less)
		if err != nil || to.Limits.CPUs != "0" {
			t.Fatalf("%+v, %v", to, err)
		}
		golden.JSON(t, "resources-"+string(layout)+".json", map[string]any{"plan": p, "change": change})
	}
}

func TestMissingOnV1(t *testing.T) {
	h := every(Hybrid)
	h.SwapLimit, h.IOWeight = false, false
	l, missing, err := h.Enforceable(everyLimit())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, m := range missing {
		got[m.Limit] = true
	}
	if want := []string{"blkio-weight", "memory-high", "memory-swap"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("missing %v, want %v", missing, want)
	}
	if l.High != 0 || l.Swap != 0 || l.IOWeight != 0 || l.Memory == 0 {
		t.Errorf("enforceable: %+v", l)
	}
	if _, _, err := h.Enforceable(Limits{CPUs: "0-4"}); err == nil || !strings.Contains(err.Error(), "0-3") {
		t.Errorf("processors that there are not: %v", err)
	}
}

// TestChanges: what an update changed is told, and nothing else.
func TestChanges(t *testing.T) {
	from := Limits{Memory: 2 << 30, MilliCPU: 1000, Pids: 100}
	to := Limits{Memory: 1 << 30, MilliCPU: 1500, Pids: 100, OOMGroup: true}
	was, is := to.Changes(from)
	if was != "memory=2147483648 oom=process cpus=1" || is != "memory=1073741824 oom=sandbox cpus=1.5" {
		t.Errorf("%q to %q", was, is)
	}
	if was, is := from.Changes(from); was != "" || is != "" {
		t.Errorf("nothing has changed: %q to %q", was, is)
	}
	// No limit is left out: each alone is a change.
	none := Limits{}.words()
	for i, w := range everyLimit().words() {
		if w == none[i] {
			t.Errorf("%s is not told of", w)
		}
	}
}

func TestChangeRefuses(t *testing.T) {
	p, err := every(Unified).Plan("abc", everyLimit())
	if err != nil {
		t.Fatal(err)
	}
	fewer := p
	fewer.Controllers = []string{ctrlMemory}
	without := everyLimit()
	without.CPUs = ""
	for name, err := range map[string]error{
		"no controller":      second(fewer.Change(Limits{Pids: 3, CPUs: "0", Mems: "0", Rates: p.Limits.Rates})),
		"cpuset taken away":  second(p.Change(without)),
		"rates taken away":   second(p.Change(Limits{CPUs: "0", Mems: "0"})),
		"nonsense":           second(p.Change(Limits{Memory: -1})),
		"no cgroup":          second(Plan{}.Change(Limits{Memory: 1 << 30})),
		"no cgroup to check": Plan{Limits: Limits{Pids: 1}}.Check(os.Getpid()),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if strings.HasPrefix(name, "no cgroup") && !errors.Is(err, ErrNoCgroup) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[A, B any](_ A, _ B, err error) error { return err }

func TestParseList(t *testing.T) {
	for s, want := range map[string]int{"": 0, "0": 1, "0-3": 4, "0-1,4": 3, "1,1": 1, " 2-3\n": 2} {
		if got, err := parseList(s); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"a", "-1", "3-1", "0-", "0,,1", "0-99999999999", "65535"} {
		if got, err := parseList(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("0-2,4")
	f.Fuzz(func(t *testing.T, s string) {
		if set, err := parseList(s); err == nil && len(set) > maxListed {
			t.Errorf("%d numbers", len(set))
		}
	})
}

func TestIOMax(t *testing.T) {
	const file = "8:0 rbps=max wbps=max riops=max wiops=max\n254:0 rbps=1048576 wbps=max riops=120 wiops=max\n"
	for r, want := range map[Rate]bool{
		{Kind: ReadBps, Major: 254, Rate: 1 << 20}: true, {Kind: ReadIOPS, Major: 254, Rate: 120}: true,
		{Kind: WriteBps, Major: 254, Rate: 1}: false, {Kind: ReadBps, Major: 8, Rate: 1 << 20}: false, {Kind: ReadBps, Major: 9, Rate: 1}: false,
	} {
		if got := ioMax(file, r); got != want {
			t.Errorf("%+v: %v", r, got)
		}
	}
}
