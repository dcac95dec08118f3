// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// TestProfileIsReadOnce: a pipe does for a profile, and what is empty or cut off
// is none, and not the default either.
func TestProfileIsReadOnce(t *testing.T) {
	read := func(text string) error {
		path := filepath.Join(t.TempDir(), "pipe")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		go func() {
			if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				_, _ = f.WriteString(text)
				_ = f.Close()
			}
		}()
		p, err := loadProfile(bundle.Options{Seccomp: path})
		if err == nil && p.DefaultAction != "SCMP_ACT_ERRNO" {
			t.Errorf("%q: %+v", text, p)
		}
		return err
	}
	if err := read(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}`); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "{}", `{"defaultAction": "SCMP_ACT_ERRNO"`, "null", "[]"} {
		if err := read(text); err == nil {
			t.Errorf("%q is a profile", text)
		}
	}
}
