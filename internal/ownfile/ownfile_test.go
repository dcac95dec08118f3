// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package ownfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// strays are ways to plant what is no regular file of one's own.
func strays(t *testing.T) map[string]func(path string) error {
	t.Helper()
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if got, err := os.ReadFile(other); err != nil || string(got) != "precious" {
			t.Errorf("the link's target has become %q, %v", got, err)
		}
	})
	all := map[string]func(string) error{
		"a FIFO":          func(p string) error { return unix.Mkfifo(p, 0o600) },
		"a directory":     func(p string) error { return os.Mkdir(p, 0o700) },
		"a symbolic link": func(p string) error { return os.Symlink(other, p) },
		"a socket": func(p string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		},
	}
	if os.Geteuid() == 0 {
		all["a device"] = func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) }
		all["a file of uid 12345"] = func(p string) error {
			return errors.Join(os.WriteFile(p, []byte("theirs"), 0o600), os.Chown(p, 12345, 12345))
		}
	}
	return all
}

func TestStray(t *testing.T) {
	for what, plant := range strays(t) {
		for name, open := range map[string]func(string) error{
			"read":     func(p string) error { _, err := Read(p, 10); return err },
			"write":    func(p string) error { return Write(p, nil) },
			"append":   func(p string) error { _, err := OpenFile(p, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); return err },
			"readable": func(p string) error { _, err := OpenFile(p, os.O_CREATE|os.O_RDWR, 0o600); return err },
		} {
			t.Run(what+"/"+name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "f")
				if err := plant(path); err != nil {
					t.Skip("cannot be planted here:", err)
				}
				done := make(chan error, 1)
				go func() { done <- open(path) }()
				select {
				case err := <-done:
					if !IsStray(err) || !strings.Contains(err.Error(), path+": "+what) || !strings.Contains(err.Error(), "delete it") {
						t.Errorf("error %v", err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("waits")
				}
			})
		}
	}
}

func TestOwn(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "link", "f") // below a link is as good as any place
	if _, err := Read(path, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := Write(path, []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path, 3); err != nil || string(got) != "abc" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := Read(path, 2); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	f, err := OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}
