// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// content checks what a file has, and that nothing else is in its directory.
func content(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s: %q %v, want %q", path, got, err, want)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("in the directory: %v %v", entries, err)
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode()
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"one", "two, which is longer", ""} {
		if err := Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		content(t, path, want)
	}
	if got := mode(t, path); got != 0o600 {
		t.Errorf("mode %v, want 0600", got)
	}
	// A directory cannot be replaced; nothing is left beside it.
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, []byte("x")); err == nil {
		t.Error("over a directory: no error")
	}
	if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 1 {
		t.Errorf("left: %v %v", entries, err)
	}
}

func TestReplaceModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 255))
	if err := Replace(path, Options{Mode: 0o644}, Content([]byte("a"))); err != nil {
		t.Fatal(err)
	}
	if got := mode(t, path); got != 0o644 {
		t.Errorf("mode %v, want 0644", got)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, Options{Mode: 0o644, Keep: true}, Content([]byte("b"))); err != nil {
		t.Fatal(err)
	}
	content(t, path, "b")
	if got := mode(t, path); got != 0o640 {
		t.Errorf("mode %v, want the one that it had", got)
	}
}

// A failure of any step leaves the old file, and nothing beside it; no later
// step is taken.
func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	for _, step := range []string{"open", "fill", "chown", "chmod", "sync", "close", "rename", "syncDir"} {
		t.Run(step, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			var after []string
			failed := false
			fail := func(name string) error {
				if failed {
					after = append(after, name)
				}
				if name == step {
					failed = true
					return broken
				}
				return nil
			}
			c := failing(fail)
			r := request{Options: Options{Mode: 0o600}, create: 0o600, fill: func(f *os.File) error {
				if err := Content([]byte("half"))(f); err != nil {
					return err
				}
				return fail("fill")
			}}
			if step == "chown" {
				if os.Getuid() != 0 {
					t.Skip("needs root, to have a file of another user")
				}
				r.Keep = true
				if err := os.Chown(path, 1, 1); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.replace(path, r); !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
			want := "old"
			if step == "syncDir" { // the file is whole by then
				want = "half"
			}
			content(t, path, want)
			if len(after) > 0 {
				t.Errorf("after the failure: %v", after)
			}
		})
	}
}

// failing are the kernel's calls, each of which asks first whether to fail.
func failing(fail func(string) error) calls {
	c, k := kernel(), kernel()
	c.open = func(path string, mode fs.FileMode) (*os.File, error) {
		if err := fail("open"); err != nil {
			return nil, err
		}
		return k.open(path, mode)
	}
	c.chown = func(f *os.File, uid, gid int) error { return errors.Join(fail("chown"), k.chown(f, uid, gid)) }
	c.chmod = func(*os.File, fs.FileMode) error { return fail("chmod") }
	c.sync = func(*os.File) error { return fail("sync") }
	c.close = func(f *os.File) error { return errors.Join(fail("close"), k.close(f)) }
	c.rename = func(from, to string) error {
		if err := fail("rename"); err != nil {
			return err
		}
		return k.rename(from, to)
	}
	c.syncDir = func(string) error { return fail("syncDir") }
	return c
}

// Errors speak of the file that was asked for.
func TestErrorsNameTheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	for name, err := range map[string]error{
		"Write": Write(filepath.Join(dir, "f"), nil),
		"Named": Named(filepath.Join(dir, "f"), Options{}, Content(nil)),
	} {
		if want := "open " + dir + "/f: no such file or directory"; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
