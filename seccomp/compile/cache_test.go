// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/opencontainers/runc/libcontainer/configs"
)

func profile(t *testing.T, errno uint) []byte {
	t.Helper()
	data, err := json.Marshal(configs.Seccomp{
		DefaultAction: configs.Allow, Syscalls: []*configs.Syscall{{Name: "mount", Action: configs.Errno, ErrnoRet: &errno}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A compiled profile is kept, and taken only as it was written.
func TestFilterKept(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "filters")}
	first, err := c.Filter(profile(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(c.Dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"whole":     func() error { return nil },
		"cut":       func() error { return os.Truncate(files[0], int64(len(whole)-8)) },
		"empty":     func() error { return os.Truncate(files[0], 0) },
		"changed":   func() error { return os.WriteFile(files[0], bytes.ToUpper(whole), 0o600) },
		"writable":  func() error { return os.Chmod(files[0], 0o666) },
		"a link":    func() error { return link(files[0]) },
		"a missing": func() error { return os.Remove(files[0]) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(name, err)
		}
		again, err := c.Filter(profile(t, 1))
		if err != nil || !bytes.Equal(again.Encode(), first.Encode()) {
			t.Errorf("%s file: %v", name, err)
		}
		if data, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(data, whole) {
			t.Errorf("%s file: not replaced (%v)", name, err)
		}
		if info, err := os.Lstat(files[0]); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s file: %v, %v", name, info, err)
		}
	}
}

// link puts a file elsewhere and a link in its place.
func link(path string) error {
	if err := os.Rename(path, path+"-moved"); err != nil {
		return err
	}
	return os.Symlink(path+"-moved", path)
}

// They do not pile up, and no filter is none.
func TestFiltersBounded(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "filters")}
	for i := range uint(maxFilters + 5) {
		if _, err := c.Filter(profile(t, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil || len(entries) != maxFilters {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for i, none := range []string{"", "null"} {
		if f, err := (Cache{Dir: filepath.Join(t.TempDir(), strconv.Itoa(i))}).Filter([]byte(none)); f != nil || err != nil {
			t.Errorf("%q: %v, %v", none, f, err)
		}
	}
}
