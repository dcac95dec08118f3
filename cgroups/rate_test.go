// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"path/filepath"
	"testing"
)

func TestRateOf(t *testing.T) {
	for _, bad := range []string{"/dev/null", t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if r, err := RateOf(ReadBps, bad, 1); err == nil {
			t.Errorf("%s: %+v", bad, r)
		}
	}
}

func TestSetRate(t *testing.T) {
	var l Limits
	for _, r := range []Rate{
		{Kind: ReadBps, Major: 8, Rate: 1},
		{Kind: WriteBps, Major: 8, Rate: 2},
		{Kind: ReadBps, Major: 8, Minor: 1, Rate: 3},
		{Kind: ReadBps, Major: 8, Rate: 4},
	} {
		l.SetRate(r)
	}
	if len(l.Rates) != 3 || l.Rates[2].Rate != 4 || l.Rates[0].Kind != WriteBps {
		t.Errorf("%+v", l.Rates)
	}
}
