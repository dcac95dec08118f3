// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStrayFiles puts what does not belong there at every name that cpc keeps a file
// under, while a sandbox runs. No command waits for it; one that cannot do without
// the file names it; and the sandbox goes on.
func TestStrayFiles(t *testing.T) {
	eachOf(t, []string{mapped}, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		id := strings.TrimSpace(w.must(t, "inspect", "-f", "{{.Id}}", name))
		aside := filepath.Join(w.home, "aside")
		for i, path := range w.kept(t) {
			kinds := []string{"FIFO", []string{"link", "directory", "foreign", "device"}[i%4]}
			if strings.Contains(path, "blobs") {
				kinds = kinds[:1]
			}
			for _, kind := range kinds {
				if err := errors.Join(os.Rename(path, aside), w.plant(path, kind)); err != nil {
					t.Fatal(err)
				}
				w.meetStray(t, id, path, kind)
				if err := errors.Join(os.RemoveAll(path), os.Rename(aside, path)); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.must(t, "exec", name, "true")
		w.must(t, "stop", "-t", "0", name)
		w.must(t, "rm", name)
		w.strayNames(t)
	})
}

// kept lists the files of the caller: all but the contents of images and sandboxes.
// Of files of one kind there are two.
func (w *who) kept(t *testing.T) []string {
	t.Helper()
	var all []string
	seen := map[string]int{}
	for _, dir := range []string{w.state, w.data} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && strings.Contains(" layers mounts scratch runtime bundle ", " "+d.Name()+" "):
				return fs.SkipDir
			case d.IsDir():
				return nil
			}
			kind := filepath.Dir(path) + "/" + strings.TrimRight(d.Name(), "0123456789abcdef")
			if seen[kind]++; seen[kind] <= 2 {
				all = append(all, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 15 {
		t.Errorf("only these files are kept: %q", all)
	}
	return all
}

func (w *who) plant(path, kind string) error {
	switch kind {
	case "FIFO":
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return err
		}
	case "link":
		if err := os.Symlink("/dev/zero", path); err != nil {
			return err
		}
	case "directory":
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
	case "foreign": // root's
		return os.WriteFile(path, []byte("{}"), 0o644) //nolint:gosec // for the caller to read
	case "device":
		return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))
	}
	return os.Lchown(path, w.uid, w.gid)
}

// meetStray runs commands while something stray is at path.
func (w *who) meetStray(t *testing.T, id, path, kind string) {
	t.Helper()
	about := kind + " at " + path
	for _, args := range [][]string{{"ps", "-a"}, {"run", "--rm", base, "true"}, {"logs", id}} {
		if args[0] == "logs" && !strings.Contains(path, id) || args[0] == "ps" && !strings.HasPrefix(path, w.state) {
			continue
		}
		begun := time.Now()
		stdout, stderr, code := w.run(t, args...)
		answered(t, about+": "+args[0], begun)
		if code != 0 && (args[0] == "ps" || !strings.Contains(stderr, filepath.Base(path))) {
			t.Errorf("%s: cpc %s: exit status %d, %s%s", about, args[0], code, stdout, stderr)
		}
	}
}

// strayNames: what is in the directories of sandboxes and steps under another name is
// in nobody's way; under the name of one, it goes.
func (w *who) strayNames(t *testing.T) {
	t.Helper()
	var gone []string
	for _, dir := range []string{"sandboxes", "steps"} {
		for _, name := range []string{"notes", strings.Repeat("0", 64)} {
			path := filepath.Join(w.state, dir, name)
			if err := w.plant(path, "FIFO"); err != nil {
				t.Fatal(err)
			}
			if name != "notes" {
				gone = append(gone, path)
				continue
			}
			t.Cleanup(func() { _ = os.Remove(path) })
		}
	}
	if out := w.must(t, "sweep"); !strings.Contains(out, "notes") {
		t.Errorf("sweep does not tell of stray names: %s", out)
	}
	for _, path := range gone {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
