// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import "testing"

func TestWho(t *testing.T) {
	for _, c := range []struct {
		uid         int
		login, want string
	}{
		{0, "", "root (uid 0)"},
		{0, "4294967295", "root (uid 0)"},
		{0, "0", "root (uid 0)"},
		{0, "1", "root (uid 0), logged in as daemon (uid 1)"},
		{1999999999, "", "uid 1999999999"},
	} {
		if got := who(c.uid, c.login); got != c.want {
			t.Errorf("%d, login %q: %q, want %q", c.uid, c.login, got, c.want)
		}
	}
	if Who() == "" {
		t.Error("nobody")
	}
}
