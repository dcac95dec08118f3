// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	s := series{runtimes: []contender{{name: "old"}, {name: "new"}}, peaks: []int64{2048, 1024}, times: make([][]sample, 2)}
	for n := range 5 {
		base := time.Duration(n+1) * time.Millisecond
		s.times[0] = append(s.times[0], sample{wall: 2 * base, cpu: 4 * base})
		s.times[1] = append(s.times[1], sample{wall: base, cpu: base})
	}
	got := strings.Split(s.table(), "\n")
	for i, want := range []string{"old 6.0 ms 1.00 1.00 … 1.00 12.0 ms 1.00 2.0 MB", "new 3.0 ms 0.50 0.50 … 0.50 3.0 ms 0.25 1.0 MB"} {
		if line := strings.Join(strings.Fields(got[i+1]), " "); line != want {
			t.Errorf("line %q, want %q", line, want)
		}
	}
}

func TestParse(t *testing.T) {
	all, err := parse([]string{"shell=sh", "bwrap-x=/bin/sh"})
	if err != nil || len(all) != 2 || all[0].bwrap() || !all[1].bwrap() {
		t.Errorf("%v, %v", all, err)
	}
	for _, args := range [][]string{nil, {"sh"}, {"x=/nosuch"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
