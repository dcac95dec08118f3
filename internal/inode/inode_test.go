// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inode

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRoundTrip: what one file is made, another is read as.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Close(at); err != nil {
			t.Error(err)
		}
	}()
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := Inode{
		Mode: unix.S_IFREG | 0o4751, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Time: time.Unix(1e9, 123), Attrs: map[string]string{"user.note": "a\x00b"},
	}
	refused := func(attr string, err error) { t.Errorf("%s: %v", attr, err) }
	if err := want.Apply(int(f.Fd()), refused); err != nil {
		t.Fatal(err)
	}
	if err := want.TouchOpen(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	same(t, f, &want)
	for name, n := range map[string]Inode{
		"link": {Mode: unix.S_IFLNK | 0o777, Link: "/else/where"}, "pipe": {Mode: unix.S_IFIFO | 0o640},
	} {
		n.UID, n.GID, n.Time = want.UID, want.GID, time.Unix(5, 6)
		if err := n.Make(at, name, false); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		made := os.NewFile(uintptr(fd), name)
		same(t, made, &n)
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	}
}

func same(t *testing.T, f *os.File, want *Inode) {
	t.Helper()
	got, err := Stat(int(f.Fd()))
	if err == nil && got.IsRegular() {
		got.Attrs, _, err = Attributes(int(f.Fd()))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.Key.Ino == 0 || got.Links != 1 || !got.Time.Equal(want.Time) {
		t.Errorf("%s: %+v", f.Name(), got)
	}
	got.Key, got.Links, got.Size, got.Time = Key{}, 0, 0, want.Time
	if !reflect.DeepEqual(got, *want) {
		t.Errorf("%s: got %+v, want %+v", f.Name(), got, *want)
	}
}

func TestKeeps(t *testing.T) {
	for name, want := range map[string]bool{
		"user.x": true, Capability: true, "user.overlay.opaque": false, "trusted.x": false, "security.selinux": false, "system.posix_acl_access": false,
	} {
		if Keeps(name) != want {
			t.Errorf("%s: kept %v", name, !want)
		}
	}
}
