// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is no file, where the runtime keeps one, is waited for by no command, and
// delete --force removes it.
func TestStrayState(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		for what, plant := range map[string]func(string) error{
			"FIFO": func(path string) error { return errors.Join(unix.Mkfifo(path, 0o666), os.Chmod(path, 0o666)) }, //nolint:gosec // for the user
			"link": func(path string) error { return os.Symlink("/dev/zero", path) },
		} {
			b.sleeper("c1")
			pid := b.state("c1").Pid
			path := filepath.Join(b.states, "c1", "state.json")
			if err := errors.Join(os.Remove(path), plant(path)); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"state", "c1"}, {"start", "c1"}, {"kill", "c1"}, {"exec", "c1", "true"}, {"delete", "c1"}} {
				if r := b.cli(args...); r.code == 0 || !strings.Contains(r.stderr, "state.json: corrupt state") {
					t.Errorf("%s: %v: %+v", what, args, r)
				}
			}
			if r := b.cli("list", "-q"); r.code != 0 || r.stdout != "" {
				t.Errorf("%s: list: %+v", what, r)
			}
			_ = unix.Kill(pid, unix.SIGKILL) // nobody knows of it
			b.must("delete", "--force", "c1")
			if _, err := os.Stat(filepath.Dir(path)); err == nil {
				t.Errorf("%s: the state directory is still there", what)
			}
			b.removeCgroup(pid)
		}
	})
}
