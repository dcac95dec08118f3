// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/rootfs"
)

func TestImageFilters(t *testing.T) {
	created := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	named := &rootfs.Image{Names: []string{"docker.io/library/debian:trixie"}, ConfigDigest: digest.FromString("x")}
	named.Config.Created = &created
	named.Config.Config.Labels = map[string]string{"a": "b"}
	dangling := &rootfs.Image{ConfigDigest: digest.FromString("y")}
	for _, c := range []struct {
		filters         []string
		named, dangling bool
	}{
		{nil, true, true},
		{[]string{"dangling=true"}, false, true},
		{[]string{"dangling=false"}, true, false},
		{[]string{"dangling=1"}, false, true},
		{[]string{"reference=debian"}, true, false},
		{[]string{"reference=debian:*"}, true, false},
		{[]string{"reference=deb*"}, true, false},
		{[]string{"reference=docker.io/library/debian:trixie"}, true, false},
		{[]string{"reference=library/debian"}, true, false},
		{[]string{"reference=fedora", "reference=debian"}, true, false},
		{[]string{"reference!=debian"}, false, true},
		{[]string{"reference=ebian"}, false, false},
		{[]string{"label=a"}, true, false},
		{[]string{"label=a=b"}, true, false},
		{[]string{"label=a=c"}, false, false},
		{[]string{"label!=a"}, false, true},
		{[]string{"label=a", "dangling=true"}, false, false},
		{[]string{"until=2026-05-02"}, true, true},
		{[]string{"until=2026-04-30"}, false, true},
		{[]string{"id=" + digest.FromString("x").Encoded()[:6]}, true, false},
	} {
		test, err := parseImageFilters(t.Context(), nil, c.filters)
		if err != nil {
			t.Errorf("%q: %v", c.filters, err)
			continue
		}
		if got := test(named, named.Names[0]); got != c.named {
			t.Errorf("%q: named %v, want %v", c.filters, got, c.named)
		}
		if got := test(dangling, "<none>:<none>"); got != c.dangling {
			t.Errorf("%q: dangling %v, want %v", c.filters, got, c.dangling)
		}
	}
	for _, bad := range []string{"x", "x=y", "dangling=maybe", "until=tomorrow"} {
		if _, err := parseImageFilters(t.Context(), nil, []string{bad}); err == nil {
			t.Errorf("%q: taken", bad)
		} else if code, _ := explain(err); code != usageFailure {
			t.Errorf("%q: exit status %d, want %d: %v", bad, code, usageFailure, err)
		}
	}
}
