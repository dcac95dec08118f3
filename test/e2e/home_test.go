// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// homeImage is an image with accounts of all kinds. Its only instruction that runs
// something needs no rights.
func (w *who) homeImage(t *testing.T) string {
	t.Helper()
	dir, owner := t.TempDir(), "--chown=1000 "
	if w.mode == single {
		owner = "" // there is one id
	}
	files := map[string]string{
		"Dockerfile": "FROM " + base + "\nCOPY passwd /etc/passwd\nCOPY " + owner + "node /home/node\nCOPY --chmod=0555 node /srv/shut\n" +
			"RUN mkdir -p /home/bare /srv && ln -s /etc /home/etc && ln -s /home/node /home/link && echo x >/home/file; ln -s /tmp /home/tmp\n" +
			"USER node\nWORKDIR /home/node\n",
		"node/.bashrc":     "of the image\n",
		"node/.old/inside": "of the image\n",
		"node/bin/tool":    "#!/bin/sh\necho tool of the image\n",
		"passwd": "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\nshut:x:1001:0::/srv/shut:/bin/sh\nbare:x:1002:0::/home/bare:/bin/sh\n" +
			"missing:x:1003:0::/home/a/b:/bin/sh\ndaemon:x:1004:0::/usr/sbin:/bin/sh\nslash:x:1005:0::/:/bin/sh\nrelative:x:1006:0::here:/bin/sh\n" +
			"file:x:1007:0::/home/file:/bin/sh\netc:x:1008:0::/home/etc:/bin/sh\nlink:x:1000:0::/home/link:/bin/sh\ndev:x:1009:0::/dev:/bin/sh\n" +
			"tmp:x:1010:0::/tmp:/bin/sh\ntotmp:x:1011:0::/home/tmp:/bin/sh\nbelow:x:1012:0::/home/file/x:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n",
	}
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // the caller reads it
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o755); err != nil { //nolint:gosec // likewise
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // likewise
			t.Fatal(err)
		}
	}
	image := "home-" + w.mode
	w.must(t, "build", "-q", "--sbom=false", "-t", image, dir)
	return image
}

// TestHomeOfTheImage: what the image has in its user's home is there, and can be
// changed, within the bound.
func TestHomeOfTheImage(t *testing.T) {
	const script = tries + `
echo "home=$HOME"
try bashrc cat ~/.bashrc
try tool sh -c 'PATH=~/bin:$PATH; tool'
put ~/.bashrc
try remove rm -r ~/.old
try again mkdir ~/.old
echo "old=$(ls -A ~/.old)"
try move mv ~/bin ~/moved
try run ~/moved/tool
try big sh -c 'head -c 1100m /dev/zero >~/big'
echo "size=$(wc -c <~/big)"
`
	eachOf(t, []string{root, mapped, single}, func(t *testing.T, w *who) {
		image := w.homeImage(t)
		for _, options := range [][]string{{"run", "--rm"}, {"run", "--rm", "--disk", "40m"}} {
			got := facts(w.must(t, append(options, image, "sh", "-c", script)...), "=")
			size := got["size"]
			delete(got, "size")
			same(t, got, map[string]string{
				"home": "/home/node", "bashrc": "ok", "tool": "ok", "/home/node/.bashrc": "ok", "remove": "ok", "again": "ok", "old": "",
				"move": "ok", "run": "ok", "big": "No space left on device",
			})
			if n := atoi(t, size); len(options) == 2 && n < 440<<20 || n > 448<<20 {
				t.Errorf("%v: %s bytes fit into a home of 448 MiB", options, size)
			}
		}
		if got := w.must(t, "run", "--rm", image, "cat", "/home/node/.bashrc"); got != "of the image\n" {
			t.Errorf("the next sandbox sees %q", got)
		}
		if got := w.must(t, "run", "--rm", "--tmpfs", "/home/node:size=3m", image, "sh", "-c", "ls -A ~; df -m --output=size ~"); strings.Join(strings.Fields(got), " ") != "1M-blocks 3" {
			t.Errorf("a tmpfs of the caller's: %q", got)
		}
		if got := w.must(t, "run", "--rm", "--read-only=false", image, "sh", "-c", "cat ~/.bashrc && touch ~/x && echo ok"); got != "of the image\nok\n" {
			t.Errorf("with a writable root: %q", got)
		}
		name := w.name(t)
		w.must(t, "run", "--name", name, image, "true")
		if got := w.inspect(t, name, ".Home.Path") + " " + w.inspect(t, name, ".Home.Kind"); got != "/home/node overlay" {
			t.Errorf("inspect: %s: %s", got, w.inspect(t, name, ".Home.Why"))
		}
		w.noDisks(t)
	})
}

// TestHomeOfAnybody: each account of an image has a home that it can write and that HOME
// names, wherever the image says that it is.
func TestHomeOfAnybody(t *testing.T) {
	homes := map[string]string{
		"root": "/root", "shut": "/srv/shut", "bare": "/home/bare", "missing": "/home/a/b", "link": "/home/link", "tmp": "/tmp", "totmp": "/home/tmp",
		"daemon": "", "slash": "", "relative": "", "file": "", "etc": "", "dev": "", "below": "", "nobody": "", "4711": "",
	}
	eachOf(t, []string{root, mapped, single}, func(t *testing.T, w *who) {
		image := w.homeImage(t)
		for user, home := range homes {
			if home == "" {
				home = "/home/sandbox"
			}
			for _, root := range []string{"--read-only", "--read-only=false"} {
				got, stderr, _ := w.run(t, "run", "--rm", "--user", user, root, "--workdir", "/", image, "sh", "-c", "echo x >$HOME/x && rm $HOME/x && echo $HOME; touch /etc/passwd /dev/x /usr/sbin/x 2>&1 | grep -c .")
				if !strings.HasPrefix(got, home+"\n") {
					t.Errorf("%s, %s: %q %q, want %s", user, root, got, stderr, home)
				}
			}
		}
	})
}

// TestHomeIsCopied: where the kernel stacks no further overlay, the home is a copy of the
// image's, and one that is too large to be copied is told of.
func TestHomeIsCopied(t *testing.T) {
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		image, dir := w.homeImage(t), t.TempDir()
		large := "FROM " + image + "\nRUN truncate -s 65m ~/large\n"
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(large), 0o644); err != nil { //nolint:gosec // the caller reads it
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // likewise
			t.Fatal(err)
		}
		w.must(t, "build", "-q", "--sbom=false", "-t", image+"-large", dir)
		layers, scratch := filepath.Join(w.data, "layers"), filepath.Join(w.home, "stacked")
		defer func() { _ = os.RemoveAll(scratch) }()
		for _, d := range []string{scratch, scratch + "/upper", scratch + "/work"} {
			if err := errors.Join(os.Mkdir(d, 0o700), os.Chown(d, w.uid, w.gid)); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Mount("overlay", layers, "overlay", 0, "lowerdir="+layers+",upperdir="+scratch+"/upper,workdir="+scratch+"/work"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(layers, 0); err != nil {
				t.Error(err)
			}
		}()
		name := w.name(t)
		got := w.must(t, "run", "--name", name, image, "sh", "-c", "cat ~/.bashrc; stat -c %a ~/bin/tool; rm -r ~/.old; touch ~/x && echo ok; df -m --output=size ~")
		if want := "of the image 755 ok 1M-blocks 448"; strings.Join(strings.Fields(got), " ") != want {
			t.Errorf("%q, want %q", got, want)
		}
		if kind := w.inspect(t, name, ".Home.Kind"); kind != "copy" {
			t.Errorf("home: %s", kind)
		}
		got, stderr, _ := w.run(t, "run", "--rm", image+"-large", "sh", "-c", "ls -A ~; touch ~/x && echo ok")
		if got != "ok\n" || !strings.Contains(stderr, "the image's files in /home/node are not in the sandbox") {
			t.Errorf("too large: %q %q", got, stderr)
		}
	})
}

// odd makes an image whose /run is a file, and whose /var/tmp is a link.
func (w *who) odd(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text := "FROM " + base + "\nRUN rm -rf /run /var/tmp && echo x >/run && ln -s /tmp /var/tmp\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil { //nolint:gosec // the caller reads it
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}
	w.must(t, "build", "-q", "--sbom=false", "-t", "odd-"+w.mode, dir)
	return "odd-" + w.mode
}

// TestSystemPlaces: what programs take to be writable everywhere.
func TestSystemPlaces(t *testing.T) {
	const script = tries + `
me=/run/user/$(id -u)
put $me/x
put /var/tmp/x
cp /bin/true /var/tmp/program && try "run /var/tmp" /var/tmp/program
cp /bin/true $me/program && try "run $me" $me/program
try big sh -c 'head -c 100m /dev/zero >/var/tmp/big'
rm /var/tmp/big
echo "lock=$(stat -c %a /run/lock)"
`
	eachOf(t, []string{root, mapped, single}, func(t *testing.T, w *who) {
		got := facts(w.in(t, script), "=")
		me := "/run/user/1000"
		if w.mode == single {
			me = "/run/user/0"
		}
		same(t, got, map[string]string{
			me + "/x": "ok", "/var/tmp/x": "ok", "run /var/tmp": "ok", "run " + me: "Permission denied", "big": "No space left on device", "lock": "1777",
		})
		odd := w.odd(t)
		if got := w.must(t, "run", "--rm", odd, "sh", "-c", "test -f /run && touch /var/tmp/x /tmp/x && df -m --output=size /var/tmp/"); strings.Join(strings.Fields(got), " ") != "1M-blocks 448" {
			t.Errorf("a file on /run and a link to /tmp: %q", got)
		}
		if got := w.must(t, "run", "--rm", "--user", "root", base, "sh", "-c", "touch /run/x && echo ok"); got != "ok\n" {
			t.Errorf("root in /run: %q", got)
		}
		if got := w.must(t, "run", "--rm", "--tmpfs", "/run:size=3m", "--tmpfs", "/var/tmp:size=5m", base, "df", "-m", "--output=size", "/run", "/var/tmp"); strings.Join(strings.Fields(got), " ") != "1M-blocks 3 5" {
			t.Errorf("of the caller's: %q", got)
		}
	})
}
