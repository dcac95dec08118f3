// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package emulate

import (
	"fmt"
	"testing"
)

// The magic numbers that qemu's own script registers.
func TestMagic(t *testing.T) {
	for arch, want := range map[string]string{
		"arm64": "7f454c460201010000000000000000000200b700 ",
		"arm":   "7f454c4601010100000000000000000002002800 ",
		"s390x": "7f454c4602020100000000000000000000020016 ",
		"386":   "7f454c4601010100000000000000000002000300 ",
	} {
		if got := fmt.Sprintf("%x", machines()[arch].magic()); got != want[:40] {
			t.Errorf("%s: %s, want %s", arch, got, want[:40])
		}
	}
	if got := fmt.Sprintf("%x", machines()["arm64"].mask()); got != "ffffffffffffff00fffffffffffffffffeffffff" {
		t.Errorf("mask %s", got)
	}
	if got := fmt.Sprintf("%x", machines()["s390x"].mask()); got != "ffffffffffffff00fffffffffffffffffffeffff" {
		t.Errorf("mask %s", got)
	}
}

func TestFixed(t *testing.T) {
	if fixed("enabled\ninterpreter /x\nflags: OC\n") || !fixed("enabled\ninterpreter /x\nflags: OCF\n") {
		t.Error("flag F is not told")
	}
}
