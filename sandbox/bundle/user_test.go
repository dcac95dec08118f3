// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/dockerflag"
)

const (
	testPasswd = "root:x:0:0:root:/root:/bin/bash\n" +
		"daemon:x:1:1::/:/bin/sh\n" +
		"sandbox:x:1000:1000:,,,:/home/sandbox/:/bin/bash\n" +
		"2000:x:0:0::/odd:/bin/sh\n" +
		"4294967296:x:0:0::/odd:/bin/sh\n" +
		"bad:x:12a:0::/:/bin/sh\n" +
		"rel:x:1001:1001::home:/bin/sh\n"
	testGroup = "root:x:0:\nstaff:x:50:sandbox\nsudo:x:27:sandbox\nsandbox:x:1000:sandbox\nagain:x:27:sandbox\n3000:x:0:sandbox\n4294967296:x:0:\nbroken:x:-1:sandbox\n"
)

func rootfs(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/passwd"), testPasswd)
	write(t, filepath.Join(root, "etc/group"), testGroup)
	return root
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestResolveUser(t *testing.T) {
	root := rootfs(t)
	for spec, want := range map[string]ResolvedUser{
		"root":          {Name: "root", Home: "/root"},
		"0":             {Name: "root", Home: "/root"},
		"sandbox":       {UID: 1000, GID: 1000, Groups: []uint32{50, 27, 0}, Name: "sandbox", Home: "/home/sandbox"},
		"1000":          {UID: 1000, GID: 1000, Groups: []uint32{50, 27, 0}, Name: "sandbox", Home: "/home/sandbox"},
		"1000:1000":     {UID: 1000, GID: 1000, Name: "sandbox", Home: "/home/sandbox"},
		"sandbox:staff": {UID: 1000, GID: 50, Name: "sandbox", Home: "/home/sandbox"},
		"sandbox:7":     {UID: 1000, GID: 7, Name: "sandbox", Home: "/home/sandbox"},
		"2000":          {UID: 2000, Home: "/"}, // the user of that name is root
		"02000":         {UID: 2000, Home: "/"},
		"sandbox:3000":  {UID: 1000, GID: 3000, Name: "sandbox", Home: "/home/sandbox"},
		"2000:3000":     {UID: 2000, GID: 3000, Home: "/"},
		"4242":          {UID: 4242, Home: "/"},
		"4242:staff":    {UID: 4242, GID: 50, Home: "/"},
		"rel":           {UID: 1001, GID: 1001, Name: "rel", Home: "/"},
	} {
		got, err := ResolveUser(root, spec)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", spec, got, err, want)
		}
	}
	for _, spec := range []string{"", ":", "a:", ":a", "nobody", "bad", "sandbox:nogroup", "-1", "4294967295", "4294967296", "99999999999", "18446744073709551617", "sandbox:4294967296", "sandbox:4294967295", "a b", "a\n", "sandbox:broken", "+1"} {
		if got, err := ResolveUser(root, spec); err == nil {
			t.Errorf("%q: resolved to %+v", spec, got)
		}
	}
}

func TestResolveUserWithoutFiles(t *testing.T) {
	root := t.TempDir()
	if u, err := ResolveUser(root, DefaultUser); err != nil || u.UID != 1000 || u.Home != "/" {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := ResolveUser(root, "sandbox"); err == nil {
		t.Error("a name without a passwd file was found")
	}
}

func TestResolveUserStaysInside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "passwd")
	write(t, outside, "evil:x:0:0::/:/bin/sh\n")
	for _, target := range []string{outside, "../../../../../../.." + outside, "/proc/self/root" + outside} {
		root := rootfs(t)
		relink(t, filepath.Join(root, "etc/passwd"), target)
		if u, err := ResolveUser(root, "evil"); err == nil {
			t.Errorf("passwd -> %s: read outside of the root: %+v", target, u)
		}
	}
	root := rootfs(t)
	if err := os.Rename(filepath.Join(root, "etc/passwd"), filepath.Join(root, "real")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/real", filepath.Join(root, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	if u, err := ResolveUser(root, "sandbox"); err != nil || u.UID != 1000 {
		t.Errorf("a link inside of the root: %+v, %v", u, err)
	}
}

func relink(t *testing.T, name, target string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func TestResolveUserRefuses(t *testing.T) {
	for name, create := range map[string]func(file string) error{
		"fifo":      func(f string) error { return unix.Mkfifo(f, 0o644) },
		"directory": func(f string) error { return os.Mkdir(f, 0o755) },
		"socket":    func(f string) error { return unix.Mknod(f, unix.S_IFSOCK|0o644, 0) },
		"loop":      func(f string) error { return os.Symlink("passwd", f) },
		"too large": func(f string) error { return os.WriteFile(f, bytes.Repeat([]byte("x"), maxAccountFile+1), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			root := rootfs(t)
			file := filepath.Join(root, "etc/passwd")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := create(file); err != nil {
				t.Fatal(err)
			}
			done := beside(func() error { _, err := ResolveUser(root, "0"); return err })
			select {
			case err := <-done:
				if err == nil {
					t.Error("accepted")
				}
			case <-time.After(5 * time.Second):
				t.Fatal("hangs")
			}
		})
	}
}

// beside runs f beside the test, which may then give up on it.
func beside(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func FuzzAccounts(f *testing.F) {
	f.Add([]byte(testPasswd), []byte(testGroup), "sandbox", "staff")
	f.Add([]byte("a:b:1:2:c:/d:e\n\x00"), []byte(":::\n"), "1", "")
	f.Add([]byte("x:x:4294967295:0::/../..:/\n"), []byte("g:x:1:"+strings.Repeat(",", 9)), "x", "1")
	f.Fuzz(func(t *testing.T, passwd, group []byte, user, groupName string) {
		spec := user
		if groupName != "" {
			spec += ":" + groupName
		}
		want, err := dockerflag.ParseUser(spec)
		if err != nil {
			return
		}
		u, err := lookUp(want, parsePasswd(passwd), parseGroup(group))
		if err != nil {
			return
		}
		if !filepath.IsAbs(u.Home) || filepath.Clean(u.Home) != u.Home || strings.ContainsAny(u.Home, "\x00\n") {
			t.Errorf("home %q", u.Home)
		}
		if u.UID == 1<<32-1 || u.GID == 1<<32-1 {
			t.Errorf("user %+v has the id -1", u)
		}
		if want.Group != "" && u.Groups != nil {
			t.Errorf("additional groups %v beside a given one", u.Groups)
		}
	})
}
