// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	all := []*contender{{name: "one"}, {name: "two"}}
	got := strings.Fields(table(all, [][]float64{{1, 2, 4}, {2, 6, 2}}, metric{unit: "ms"}))
	want := strings.Fields("one 2.00 ms 1.00 (1.00 … 1.00) two 2.00 ms 2.00 (2.00 … 3.00)")
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, want %q", got, want)
	}
	some := table(all, [][]float64{{1, 2, 4}, {2, math.NaN(), 2}}, metric{unit: "ms"})
	if !strings.Contains(some, "2.00 ms") || !strings.Contains(some, "1 rounds failed") {
		t.Errorf("a failed round: %q", some)
	}
	none := table(all, [][]float64{{1}, {math.NaN()}}, metric{unit: "ms"})
	if strings.Contains(none, "NaN") || !strings.Contains(none, "1 rounds failed") {
		t.Errorf("nothing measured: %q", none)
	}
}

// The client measures the server, here in one namespace.
func TestClientAndServer(t *testing.T) {
	for _, args := range [][]string{nil, {"down"}, {"down", "x", "1s"}, {"down", "1", "x"}} {
		t.Setenv("CPC_BENCH_DNS", "")
		if _, err := client(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	if _, err := certificate(); err != nil {
		t.Error(err)
	}
	for _, m := range metrics(time.Second) {
		if len(m.args) < 2 || m.unit == "" {
			t.Errorf("%+v", m)
		}
	}
}
