// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-1": -1, "512": 512, "512b": 512, "1k": 1 << 10, "32M": 32 << 20, "64kb": 64 << 10, "1.5g": 3 << 29, "1GiB": 1 << 30,
		"2 mb": 2 << 20, "1t": 1 << 40, "3P": 3 << 50,
	} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-2", "b", "k", "1x", "1kk", "1mg", "0x10", "nan", "inf", "1e30", "9999p", "1_000", "lots", "1bi", "--1"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
