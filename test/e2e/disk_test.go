// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// diskTier is what a caller gets with a read-only root. What users get by
// fuse2fs is tested in the VM (test/vm/disk.sh), whose fuse2fs has libfuse 3.
func (w *who) diskTier() string {
	program, err := os.ReadFile("/usr/bin/fuse2fs")
	device, e := os.Stat("/dev/fuse")
	switch {
	case w.mode == root:
		return "loop"
	case err == nil && bytes.Contains(program, []byte("libfuse3")) && e == nil && device.Mode().Perm() == 0o666:
		return "fuse2fs"
	}
	return "tmpfs"
}

// fillScript writes until there is no more room, and says how much fit.
const fillScript = `head -c 200m /dev/zero >FILE; echo status $?; wc -c <FILE; rm FILE; echo x >FILE && echo again`

// bounded runs a command that fills a disk of 32 MiB.
func (w *who) bounded(t *testing.T, file string, args ...string) (stderr string) {
	t.Helper()
	stdout, stderr, code := w.run(t, append(append([]string{"run", "--rm", "--disk", "32m"}, args...), "sh", "-c", strings.ReplaceAll(fillScript, "FILE", file))...)
	f := strings.Fields(stdout)
	if code != 0 || len(f) != 4 || f[1] == "0" || f[3] != "again" || !strings.Contains(stderr, "No space left on device") {
		t.Fatalf("%s: exit status %d: %q %q", file, code, stdout, stderr)
	}
	if n := atoi(t, f[2]); n < 24<<20 || n > 32<<20 {
		t.Errorf("%s: %d bytes fit on a disk of 32 MiB", file, n)
	}
	return stderr
}

func TestDiskIsBounded(t *testing.T) {
	eachOf(t, []string{root, mapped, single}, func(t *testing.T, w *who) {
		stderr := w.bounded(t, "/var/tmp/f", base)
		if tier := w.diskTier(); strings.Contains(stderr, "note: the sandbox's disk is") != (tier == "tmpfs") {
			t.Errorf("tier %s: %q", tier, stderr)
		}
		w.bounded(t, "/opt/f", "--read-only=false", "--user", "root", "--cap-add", "DAC_OVERRIDE", base)
		// docker's word for it, and one that is memory stays memory.
		if got := w.must(t, "run", "--rm", "--storage-opt", "size=20m", base, "df", "-m", "--output=size", "/var/tmp"); atoi(t, strings.Fields(got)[1]) > 20 {
			t.Errorf("--storage-opt size=20m: %s", got)
		}
		if got := w.must(t, "run", "--rm", "--disk", "20m", "--tmpfs", "/var/tmp:size=3m", base, "df", "-m", "--output=size", "/var/tmp"); strings.Fields(got)[1] != "3" {
			t.Errorf("--tmpfs /var/tmp: %s", got)
		}
		w.noDisks(t)
	})
}

func TestDiskOnRecord(t *testing.T) {
	eachOf(t, []string{root, mapped, single}, func(t *testing.T, w *who) {
		name := w.name(t)
		w.run(t, "run", "--name", name, "--disk", "40m", base, "true")
		if got := w.inspect(t, name, ".Disk.Tier"); got != w.diskTier() {
			t.Errorf("tier %s, want %s: %s", got, w.diskTier(), w.inspect(t, name, ".Disk.Why"))
		}
		if got := w.inspect(t, name, ".Disk.Asked"); got != "41943040" {
			t.Errorf("size %s", got)
		}
		if got := w.inspect(t, name, ".Disk.Paths"); got != "[/var/tmp]" {
			t.Errorf("paths %s", got)
		}
		stdout, _, _ := w.run(t, "run", "--dry-run", "--disk", "40m", base, "true")
		var spec struct{ Annotations map[string]string }
		if err := json.Unmarshal([]byte(stdout), &spec); err != nil || spec.Annotations["io.cpc.disk.tier"] != w.diskTier() {
			t.Errorf("dry run: %v, %v", spec.Annotations, err)
		}
		// Nothing that would be on a disk: none is made.
		name = w.name(t)
		w.must(t, "run", "--name", name, base, "true")
		if got := w.inspect(t, name, ".Disk"); got != "" {
			t.Errorf("disk without need: %q", got)
		}
	})
}

// TestVolumes: those of an image are on the disk, with what the image has there.
func TestVolumes(t *testing.T) {
	eachOf(t, []string{root, mapped, single}, func(t *testing.T, w *who) {
		dir := filepath.Join(w.home, "volumes")
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // the caller reads it
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		text := "FROM " + base + "\nRUN mkdir -p /data/sub && echo kept >/data/sub/f && chmod 0700 /data/sub && ln -s sub /data/link && chmod 0777 /data\nVOLUME /data /fresh\n"
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil { //nolint:gosec // likewise
			t.Fatal(err)
		}
		image := "volumes-" + w.mode
		w.must(t, "build", "-q", "-t", image, dir)
		got, stderr, code := w.run(t, "run", "--rm", "--user", "root", image, "sh", "-c",
			"cat /data/link/f; stat -c %a-%u /data/sub /fresh; echo x >/fresh/f && echo x >/data/f && echo writable; touch /opt/f 2>/dev/null || echo rest is not")
		want := "kept\n700-0\n755-0\nwritable\nrest is not\n"
		if code != 0 || got != want {
			t.Errorf("exit status %d: %q, want %q: %s", code, got, want, stderr)
		}
		w.bounded(t, "/data/f", "--user", "root", image)
		w.noDisks(t)
	})
}

// TestDiskOfKilledMonitor: the kernel drops the mount, the next command the file.
func TestDiskOfKilledMonitor(t *testing.T) {
	eachOf(t, []string{root, mapped}, func(t *testing.T, w *who) {
		name := w.name(t)
		w.run(t, "run", "-d", "--name", name, "--disk", "32m", base, "sh", "-c", "echo x >/var/tmp/f; sleep 300")
		monitor := atoi(t, w.inspect(t, name, ".State.MonitorPid"))
		if err := unix.Kill(monitor, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.noProcesses(t, 10*time.Second)
		w.must(t, "ps", "-a")
		w.noDisks(t)
		w.must(t, "rm", "-f", name)
	})
}

func TestDiskSizes(t *testing.T) {
	eachOf(t, []string{root}, func(t *testing.T, w *who) {
		for _, c := range []struct{ flag, value, says string }{
			{"--disk", "0", "the minimum is 16m"},
			{"--disk", "1x", "must be a number"},
			{"--disk", "100t", "maximum"},
			{"--storage-opt", "overlay2.size=1g", "only size=BYTES is known"},
			{"--storage-opt", "size=", "must be a number"},
		} {
			if _, stderr, code := w.run(t, "run", "--rm", c.flag, c.value, base, "true"); code != 125 || !strings.Contains(stderr, c.says) {
				t.Errorf("%s %s: exit status %d: %q", c.flag, c.value, code, stderr)
			}
		}
		// 10 GiB, the default, take what is written, not 10 GiB.
		name := w.name(t)
		w.detach(t, []string{"--name", name, "--read-only=false"}, "sleep", "300")
		var total int64
		images, err := filepath.Glob(filepath.Join(w.data, "scratch", "*", "disk"))
		if err != nil || len(images) != 1 {
			t.Fatalf("images %q, %v", images, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(images[0], &st); err != nil {
			t.Fatal(err)
		}
		if total = st.Blocks * 512; st.Size != 10<<30 || total > 8<<20 {
			t.Errorf("%d bytes, %d of them on disk", st.Size, total)
		}
		w.must(t, "rm", "-f", name)
		w.noDisks(t)
	})
}

// noDisks fails while there is a disk, or a loop device of one.
func (w *who) noDisks(t *testing.T) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(w.data, "scratch", "*", "disk")); err != nil || len(left) > 0 {
		t.Errorf("disks that are left: %q, %v", left, err)
	}
	var left []string
	none := func() bool {
		left = nil
		files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if text, _ := os.ReadFile(f); strings.Contains(string(text), w.data) {
				left = append(left, f+": "+string(text))
			}
		}
		return len(left) == 0
	}
	if !testkit.Within(testkit.Patience, none) {
		t.Fatalf("loop devices that are left: %q", left)
	}
}
