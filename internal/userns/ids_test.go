// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package userns

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

func TestFindRange(t *testing.T) {
	for _, c := range []struct {
		name, text string
		user       string
		want       Range
		none       bool
	}{
		{"by name", "other:100000:65536\nalice:165536:65536\n", "alice", Range{165536, 65536}, false},
		{"by number", "4711:300000:65536\n", "alice", Range{300000, 65536}, false},
		{"the first that is large enough", "alice:1:1000\nalice:200000:131072\n", "alice", Range{200000, 131072}, false},
		{"too small", "alice:100000:65535\n", "alice", Range{}, true},
		{"somebody else's", "alicea:100000:65536\n", "alice", Range{}, true},
		{"comments and blanks", "# alice:1:65536\n\n  \nalice:500000:65536\n", "alice", Range{500000, 65536}, false},
		{"empty name is nobody's", ":100000:65536\n", "", Range{}, true},
		{"empty file", "", "alice", Range{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "subuid")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := findRange(file, c.user, "4711")
			if c.none {
				if !errors.Is(err, ErrNoRange) {
					t.Errorf("got %+v, %v; want ErrNoRange", got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestFindRangeWithoutFile(t *testing.T) {
	_, err := findRange(filepath.Join(t.TempDir(), "subuid"), "alice", "4711")
	if !errors.Is(err, ErrNoRange) {
		t.Errorf("error %v, want ErrNoRange", err)
	}
}

func TestMapping(t *testing.T) {
	for mode, want := range map[idmap.Mode]idmap.Mapping{
		idmap.Root: idmap.ForRoot(7 << 16), idmap.Mapped: idmap.ForMapped(), idmap.Single: idmap.ForSingle(),
	} {
		if got := (IDs{Mode: mode}).Mapping(7 << 16); got != want {
			t.Errorf("%s: %+v, want %+v", mode, got, want)
		}
	}
}

func TestHoldsAny(t *testing.T) {
	for _, c := range []struct {
		dir   string
		paths []string
		want  bool
	}{
		{"/mnt", []string{"/mnt"}, true},
		{"/mnt", []string{"/var", "/mnt/disk/cpc"}, true},
		{"/mnt", []string{"/mnt2", "/var/mnt", ""}, false},
		{"/mnt", nil, false},
	} {
		if got := holdsAny(c.dir, c.paths); got != c.want {
			t.Errorf("holdsAny(%q, %q) = %v", c.dir, c.paths, got)
		}
	}
}

// TestSettleOutside: a monitor that is started by hand must not touch the
// mounts of the namespace that it finds itself in.
func TestSettleOutside(t *testing.T) {
	for _, mode := range []idmap.Mode{idmap.Root, idmap.Mapped, idmap.Single} {
		if f, err := Settle(mode); err == nil {
			_ = f.Close()
			t.Errorf("%s: settled in the namespaces of the test", mode)
		}
	}
}

func TestTakeRange(t *testing.T) {
	dir := t.TempDir()
	first, one, err := TakeRange(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, two, err := TakeRange(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if first%idmap.Size != 0 || second < first+idmap.Size {
		t.Errorf("ranges at %#x and %#x overlap", first, second)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	again, three, err := TakeRange(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer three.Close()
	if again != first {
		t.Errorf("range %#x is taken, %#x was free", again, first)
	}
}

func TestCloneError(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSPC, unix.EACCES} {
		if err := cloneError("monitor", errno); !errors.Is(err, ErrDisabled) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := cloneError("monitor", unix.ENOMEM); errors.Is(err, ErrDisabled) {
		t.Errorf("no memory: %v", err)
	}
}
