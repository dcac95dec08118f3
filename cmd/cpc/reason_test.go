// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestReasonNamesFlag: in the words of the monitor's outOf and limits.why.
func TestReasonNamesFlag(t *testing.T) {
	for reason, flag := range map[string]string{
		"failed after the limit of 100 processes had refused 20 more":                                                          "--pids-limit",
		`killed: out of memory at the 64 MiB limit, which "hog" used up`:                                                       "--memory",
		`killed: out of memory at the 64 MiB limit: files in memory (/tmp, /dev/shm and other tmpfs mounts) hold 60 MiB of it`: "--tmpfs",
		"ended well, but the kernel had killed a process: out of memory at the 64 MiB limit":                                   "--memory",
		"killed: its terminal was closed":                                                                                      "",
		"":                                                                                                                     "",
	} {
		var b strings.Builder
		tellReason(&b, "cpc run", "box", reason)
		got := b.String()
		if reason != "" && !strings.HasPrefix(got, "cpc run: box "+reason+"\n") || reason == "" && got != "" {
			t.Errorf("%q: %q", reason, got)
		}
		if flag == "" && strings.Contains(got, "--") || !strings.Contains(got, flag) {
			t.Errorf("%q: %q, want %q", reason, got, flag)
		}
	}
}
