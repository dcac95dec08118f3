// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"bytes"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func TestDetacher(t *testing.T) {
	for _, tc := range []struct {
		keys, in, pass string
		detach         bool
	}{
		{"\x10\x11", "abc", "abc", false},
		{"\x10\x11", "ab\x10\x11", "ab", true},
		{"\x10\x11", "\x10x", "\x10x", false},
		{"\x10\x11", "\x10\x10\x11", "\x10", true},
		{"\x10\x11", "\x10", "", false},
		{"aab", "aaab", "a", true},
		{"aab", "aaxaab", "aax", true},
		{"", "\x10\x11", "\x10\x11", false},
	} {
		for _, chunk := range []int{1, 2, 100} {
			d := Detacher{Keys: []byte(tc.keys)}
			var pass []byte
			detach := false
			for in := []byte(tc.in); len(in) > 0 && !detach; {
				n := min(chunk, len(in))
				var p []byte
				p, detach = d.Feed(in[:n])
				pass = append(pass, p...)
				in = in[n:]
			}
			if string(pass) != tc.pass || detach != tc.detach {
				t.Errorf("keys %q, input %q by %d: passed %q, detach %v; want %q, %v", tc.keys, tc.in, chunk, pass, detach, tc.pass, tc.detach)
			}
		}
	}
}

func FuzzDetacher(f *testing.F) {
	f.Add([]byte("ab"), []byte("aabxab"))
	f.Fuzz(func(t *testing.T, keys, in []byte) {
		if len(keys) == 0 || len(keys) > 16 {
			return
		}
		d := Detacher{Keys: keys}
		pass, detach := d.Feed(in)
		at := bytes.Index(in, keys)
		if detach != (at >= 0) {
			t.Fatalf("keys %q, input %q: detach %v", keys, in, detach)
		}
		if detach && !bytes.Equal(pass, in[:at]) {
			t.Fatalf("keys %q, input %q: passed %q", keys, in, pass)
		}
		if !detach && !bytes.Equal(append(pass, keys[:d.held]...), in) {
			t.Fatalf("keys %q, input %q: passed %q, %d held", keys, in, pass, d.held)
		}
	})
}

func TestRawModeIsRestored(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	restore, _, err := Raw(slave)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if raw.Lflag&unix.ICANON != 0 {
		t.Error("canonical mode is still on")
	}
	restore()
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("terminal is %+v, was %+v", *after, *before)
	}
}
