// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestDiskPaths(t *testing.T) {
	for _, c := range []struct {
		name, volumes string
		change        func(o *Options)
		want, says    string
	}{
		{name: "none"},
		{name: "asked for", change: func(o *Options) { o.DiskAsked = true }, want: "/var/tmp"},
		{name: "asked for, writable root", change: func(o *Options) { o.DiskAsked, o.ReadOnly = true, false }},
		{name: "asked for, /var/tmp in memory", change: func(o *Options) { o.DiskAsked = true; o.Tmpfs = []Tmpfs{{Path: "/var/tmp"}} }},
		{name: "volumes", volumes: "/srv/b /data/ /data /srv/a", want: "/data /srv/a /srv/b"},
		{name: "and asked for", volumes: "/z /var/tmp /a", change: func(o *Options) { o.DiskAsked = true }, want: "/a /var/tmp /z"},
		{name: "in memory", volumes: "/tmp /data", want: "/data"},
		{name: "the root", volumes: "/", says: "root itself"},
		{name: "relative", volumes: "data", says: "absolute"},
		{name: "up", volumes: "/a/../proc/sys", says: "kernel's"},
		{name: "ours", volumes: "/etc/hosts", says: "cpc puts a file there"},
		{name: "device directory", volumes: "/dev", says: "/dev"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, image := Defaults(), v1.ImageConfig{Volumes: map[string]struct{}{}}
			for v := range strings.FieldsSeq(c.volumes) {
				image.Volumes[v] = struct{}{}
			}
			if c.change != nil {
				c.change(&o)
			}
			got, err := DiskPaths(o, image)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%q, %v; want an error with %q", got, err, c.says)
				}
				return
			}
			if err != nil || !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
	many := v1.ImageConfig{Volumes: map[string]struct{}{}}
	for i := range maxVolumes + 1 {
		many.Volumes["/v"+strconv.Itoa(i)] = struct{}{}
	}
	if _, err := DiskPaths(Defaults(), many); err == nil {
		t.Error("too many volumes: no error")
	}
}
