// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import "testing"

func TestParseRate(t *testing.T) {
	for text, want := range map[string]struct {
		bytes, count uint64 // 0 is an error
	}{
		"/dev/sda:1000":  {1000, 1000},
		"/dev/sda:1kb":   {1024, 0},
		"/dev/a:b:7":     {7, 7},
		"/dev/sda:0":     {},
		"/dev/sda":       {},
		":5":             {},
		"/dev/sda:":      {},
		"/dev/sda:-1":    {},
		"/dev/sda:1:2mb": {2 << 20, 0},
	} {
		for _, c := range []struct {
			counts bool
			want   uint64
		}{{false, want.bytes}, {true, want.count}} {
			if _, got, err := ParseRate(text, c.counts); got != c.want || (err == nil) != (c.want > 0) {
				t.Errorf("%s, counts %v: %d, %v; want %d", text, c.counts, got, err, c.want)
			}
		}
	}
	if device, _, err := ParseRate("/dev/a:b:7", false); err != nil || device != "/dev/a:b" {
		t.Errorf("device %q, %v", device, err)
	}
}
