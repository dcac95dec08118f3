// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import "testing"

func TestFamiliar(t *testing.T) {
	for name, want := range map[string]string{
		"docker.io/library/debian:trixie-slim": "debian:trixie-slim",
		"docker.io/user/app:1":                 "user/app:1",
		"ghcr.io/user/app:1":                   "ghcr.io/user/app:1",
		"localhost:5000/library/x:1":           "localhost:5000/library/x:1",
	} {
		if got := Familiar(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSplitTag(t *testing.T) {
	for name, want := range map[string][2]string{
		"debian:x":          {"debian", "x"},
		"host:5000/a":       {"host:5000/a", "<none>"},
		"host:5000/a:b":     {"host:5000/a", "b"},
		"a@sha256:00":       {"a", "<none>"},
		"host:1/a:b@sha256": {"host:1/a", "<none>"},
	} {
		if repository, tag := SplitTag(name); repository != want[0] || tag != want[1] {
			t.Errorf("%s: %s and %s, want %s", name, repository, tag, want)
		}
	}
}
