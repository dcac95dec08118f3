// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import "testing"

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{"abc": 3, "漢字": 4, "e\u0301": 1, "✅ ✨": 5, "⚠\ufe0f": 2, "ﾊﾟ": 2, "🦀": 2, "…": 1, "é": 1} {
		if got := Width(s); got != want {
			t.Errorf("%q: %d columns, want %d", s, got, want)
		}
	}
	for s, want := range map[string]string{"abcde": "abcde", "abcdef": "abcd…", "漢字字": "漢字…", "漢漢": "漢漢", "e\u0301bcdef": "e\u0301bcd…"} {
		if got := Fit(s, 5); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
