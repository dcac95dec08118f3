// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"errors"
	"slices"
	"testing"
)

func TestParseMount(t *testing.T) {
	for s, want := range map[string]string{
		"type=tmpfs,target=/x": "rw,noexec,nosuid,nodev",
		"type=tmpfs,destination=/x,tmpfs-size=1m,tmpfs-mode=1770": "rw,noexec,nosuid,nodev,size=1048576,mode=1770",
		"dst=/x,type=tmpfs,readonly":                              "ro,noexec,nosuid,nodev",
		"type=tmpfs,target=/x,ro=false,exec,notmpcopyup":          "rw,exec,nosuid,nodev",
		`type=tmpfs,"target=/x"`:                                  "rw,noexec,nosuid,nodev",
	} {
		if got, err := ParseMount(s); err != nil || got.Path != "/x" || got.Options() != want {
			t.Errorf("%s: %+v, %s, %v", s, got, got.Options(), err)
		}
	}
	for _, s := range []string{"", "type=tmpfs", "type=tmpfs,target=x", "type=tmpfs,target=/", "type=tmpfs,target=/x,src=/y", "type=tmpfs,target=/x,readonly=maybe", `type=tmpfs,"target`} {
		if got, err := ParseMount(s); err == nil || errors.Is(err, ErrNotTmpfs) && s != "" {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"type=bind,src=/a,dst=/b", "src=a,dst=/b", "type=volume,dst=/b", "type=image,source=x,destination=/b"} {
		if _, err := ParseMount(s); !errors.Is(err, ErrNotTmpfs) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestParseExpose(t *testing.T) {
	for s, want := range map[string][]string{"80": {"80/tcp"}, "53/udp": {"53/udp"}, "1-2/SCTP": {"1/sctp", "2/sctp"}} {
		if got, err := ParseExpose(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "80/x", "2-1", "65536", "-1", "80:80", "1-"} {
		if got, err := ParseExpose(s); err == nil {
			t.Errorf("%s: %q", s, got)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"init", "memory", "memory-swap", "pids-limit", "rm", "ps", "stop"}
	for s, want := range map[string]string{
		"quiet": "", "memroy": "memory", "memory-swp": "memory-swap", "pid-limit": "pids-limit", "inti": "init", "sp": "ps", "m": "rm", "restart": "",
	} {
		if got := Nearest(s, names); got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
	}
}
