// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// give makes files in the caller's home, and returns the directory they are in.
func (w *who) give(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(w.home, w.name(t))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a test's
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil { //nolint:gosec // a test's
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, w.uid, w.gid)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCopy: files go into a sandbox and out of it, with its ids and into all of its
// mounts, in a sandbox that has neither tar nor a shell to do it.
func TestCopy(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--tmpfs", "/small:size=64k"}, "sh", "-c", "rm -f /bin/tar; sleep 1000")
		dir := w.give(t, map[string]string{"d/sub/f": "text", "g": "file", "large": strings.Repeat("0123456789abcdef", 1<<16)})
		w.must(t, "cp", "-q", dir+"/d", name+":/tmp")
		w.must(t, "cp", "-q", dir+"/g", name+":/dev/shm/h")
		w.must(t, "cp", "-q", dir+"/large", name+":/tmp/")
		if out := w.must(t, "exec", "-u", "0", name, "sh", "-c", "cat /tmp/d/sub/f /dev/shm/h; stat -c %u:%g:%a /tmp/d/sub/f"); out != "textfile0:0:640\n" {
			t.Errorf("in the sandbox: %q", out)
		}
		if w.mode != single {
			w.must(t, "cp", "-q", "-u", "1000", dir+"/g", name+":/tmp/mine")
			if out := w.must(t, "exec", name, "stat", "-c", "%u:%g", "/tmp/mine"); !strings.HasPrefix(out, "1000:") {
				t.Errorf("--user: %q", out)
			}
		}
		back := w.give(t, map[string]string{"x": ""})
		w.must(t, "cp", "-q", name+":/tmp/d/.", back)
		w.must(t, "cp", "-q", name+":/tmp/large", back+"/again")
		for file, want := range map[string]string{"sub/f": "text", "again": strings.Repeat("0123456789abcdef", 1<<16)} {
			if got, err := os.ReadFile(filepath.Join(back, file)); err != nil || string(got) != want {
				t.Errorf("%s: %d bytes, %v", file, len(got), err)
			}
		}
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{dir + "/large", name + ":/small/"}, "no space left on device"},
			{[]string{dir + "/g", name + ":/usr/"}, "read-only file system"},
			{[]string{dir + "/g", name + ":/none/"}, "the destination directory must exist"},
			{[]string{name + ":/none", back}, "no such file or directory"},
			{[]string{name + ":/dev/null", back}, "neither a file, a directory"},
			{[]string{dir + "/g", back}, "name a sandbox"},
			{[]string{name + ":/x", name + ":/y"}, "from one sandbox to another"},
			{[]string{"nobody:/x", back}, "no such sandbox"},
		} {
			if _, stderr, code := w.run(t, append([]string{"cp", "-q"}, c.args...)...); code == 0 || !strings.Contains(stderr, c.want) {
				t.Errorf("cp %q: exit status %d, %q; want %q", c.args, code, stderr, c.want)
			}
		}
	})
}

// TestCopyTar: - is a tar, in and out.
func TestCopyTar(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, nil, "sleep", "1000")
		var in bytes.Buffer
		tw := tar.NewWriter(&in)
		for _, h := range []tar.Header{
			{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "a/f", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 1},
			{Name: "a/l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		} {
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := io.WriteString(tw, "x"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		whole := in.Bytes()
		cmd := w.cpc(t, "cp", "-q", "-", name+":/tmp")
		cmd.Stdin = bytes.NewReader(whole)
		if r := finish(t, cmd); r.code != 0 {
			t.Fatalf("cp -: %s", r.stderr)
		}
		cmd = w.cpc(t, "cp", "-q", "-", name+":/tmp")
		cmd.Stdin = bytes.NewReader(whole[:700])
		if r := finish(t, cmd); r.code == 0 {
			t.Error("a tar that is cut short was taken")
		}
		var names []string
		tr := tar.NewReader(strings.NewReader(w.must(t, "cp", "-q", name+":/tmp/a", "-")))
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != "a/ a/f a/l" {
			t.Errorf("the tar has %q", got)
		}
		back := w.give(t, map[string]string{"x": ""})
		w.must(t, "cp", "-q", name+":/tmp/a", back)
		st, err := os.Lstat(filepath.Join(back, "a/f"))
		if err != nil || st.Mode() != 0o755 {
			t.Errorf("out of the sandbox: %v, %v; want no set-user-id bit", st, err)
		}
		if to, err := os.Readlink(filepath.Join(back, "a/l")); err != nil || to != "/etc/passwd" {
			t.Errorf("the link leads to %q, %v", to, err)
		}
		w.must(t, "cp", "-q", "-L", name+":/tmp/a/l", back+"/p")
		if text, err := os.ReadFile(filepath.Join(back, "p")); err != nil || !strings.Contains(string(text), "nobody") {
			t.Errorf("-L: %.40q, %v", text, err)
		}
	})
}

// TestCopyConfined: nothing in a sandbox sees the helper, and a link that is exchanged
// over and over leads it to nothing outside.
func TestCopyConfined(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		secret := w.give(t, map[string]string{"f": "secret"})
		attack := `mkdir /tmp/in /tmp/keep; echo inside >/tmp/in/f; ln -s "$1" /tmp/keep/abs
ln -s ../../../../../../../../../..$1 /tmp/keep/up
while :; do
	mv -T /tmp/in /tmp/keep/in; cp -P /tmp/keep/abs /tmp/in; rm /tmp/in
	cp -P /tmp/keep/up /tmp/in; rm /tmp/in; mv -T /tmp/keep/in /tmp/in
	for p in /proc/[0-9]*; do grep -aq "[f]iles-helper" $p/cmdline 2>/dev/null && touch /tmp/seen; done
done`
		name := w.detach(t, nil, "sh", "-c", attack, "sh", secret)
		testkit.Eventually(t, soon, "the attack has begun", func() bool {
			_, _, code := w.run(t, "exec", name, "test", "-L", "/tmp/keep/up")
			return code == 0
		})
		mine := w.give(t, map[string]string{"f": "mine"})
		for i := range 6 {
			out, _, _ := w.run(t, "cp", "-q", "-L", name+":"+[]string{"/tmp/in/f", "/tmp/in", "/tmp"}[i%3], "-")
			if strings.Contains(out, "secret") {
				t.Fatal("the secret came out")
			}
			_, _, _ = w.run(t, "cp", "-q", mine+"/f", name+":/tmp/in/f")
		}
		if text, err := os.ReadFile(filepath.Join(secret, "f")); err != nil || string(text) != "secret" {
			t.Errorf("outside there is %q, %v", text, err)
		}
		if _, _, code := w.run(t, "exec", name, "test", "-e", "/tmp/seen"); code == 0 {
			t.Error("the sandbox has seen the helper")
		}
	})
}
