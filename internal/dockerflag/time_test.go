// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"10m":                  now.Add(-10 * time.Minute),
		"0s":                   now,
		"1700000000":           time.Unix(1700000000, 0),
		"1700000000.5":         time.Unix(1700000000, 500000000),
		"2026-01-02":           time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T03:04":     time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"2026-01-02T03:04:05Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	} {
		if got, err := ParseTime(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "yesterday", "1.x", "2026-13-01", ".", "99999999999999999999"} {
		if got, err := ParseTime(s, now); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-01-02T03:04:05.5Z")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = ParseTime(s, time.Unix(0, 0)) })
}
