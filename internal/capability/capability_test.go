// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package capability

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestEffective compares with what procfs says of this thread.
func TestEffective(t *testing.T) {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(status), "CapEff:\t")
	if !ok {
		t.Fatal("no CapEff")
	}
	line, _, _ := strings.Cut(rest, "\n")
	set, err := strconv.ParseUint(line, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint(64) {
		if got := Effective(n); got != (set>>n&1 == 1) {
			t.Errorf("capability %d: %v, the set is %x", n, got, set)
		}
	}
	if Effective(64) {
		t.Error("there are 64 at most")
	}
}
