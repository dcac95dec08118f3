// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// armBase makes the tar of a small Debian for arm64; nothing in it is run for that.
func armBase(t *testing.T) string {
	t.Helper()
	out := filepath.Join(theBed.dir, "arm64.tar")
	mode := "unshare"
	if os.Geteuid() == 0 {
		mode = "root"
	}
	cmd := exec.Command("mmdebstrap", "--mode="+mode, "--quiet", "--variant=extract", "--architectures=arm64",
		"--include=dash,coreutils,libc-bin", "--skip=output/dev", "--format=tar",
		"--setup-hook=mkdir -p \"$1/usr/bin\" \"$1/usr/sbin\" \"$1/usr/lib\" && ln -s usr/bin usr/sbin usr/lib \"$1\"", "trixie", out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, text)
	}
	if err := os.Chmod(out, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestForeignPlatform: a RUN on a base for arm64 runs there, one index has both
// platforms, and the host has learnt of no emulator.
func TestForeignPlatform(t *testing.T) {
	if _, err := exec.LookPath("qemu-aarch64-static"); err != nil {
		t.Fatal("qemu-aarch64-static is needed: scripts/setup.sh test")
	}
	tar := armBase(t)
	before, _ := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
	each(t, func(t *testing.T, w *who) {
		dir, err := os.MkdirTemp(w.home, "platform-") //nolint:usetesting // where the caller can go
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := removeTree(dir); err != nil {
				t.Error(err)
			}
		})
		put(t, filepath.Join(dir, "Dockerfile.base"), "FROM scratch\nADD arm64.tar /\nENV PATH=/usr/bin\n")
		put(t, filepath.Join(dir, "Dockerfile"), "FROM platform/arm\nARG TARGETPLATFORM\nRUN echo $(uname -m) $TARGETPLATFORM > /made\n")
		put(t, filepath.Join(dir, "Dockerfile.both"), "FROM --platform=$BUILDPLATFORM debian:trixie-slim AS b\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\nFROM scratch\nCOPY --from=b /arch /\n")
		if err := errors.Join(os.Link(tar, filepath.Join(dir, "arm64.tar")), os.Chown(dir, w.uid, w.gid)); err != nil {
			t.Fatal(err)
		}
		w.must(t, "build", "-q", "--sbom=false", "--platform", "linux/arm64", "-t", "platform/arm", "-f", dir+"/Dockerfile.base", dir)
		_, stderr, code := w.run(t, "build", "-q", "--sbom=false", "--platform", "linux/arm64", "-t", "platform/made", "-o", dir+"/out", dir)
		switch {
		case w.mode == root && code != 0:
			if !strings.Contains(stderr, "qemu-user-static") {
				t.Errorf("root: %s", stderr)
			}
		case code != 0:
			t.Fatalf("build: %s", stderr)
		default:
			if made, err := os.ReadFile(dir + "/out/made"); err != nil || string(made) != "aarch64 linux/arm64\n" {
				t.Errorf("made %q %v", made, err)
			}
		}
		runForeign(t, w)
		w.must(t, "buildx", "build", "-q", "--sbom=false", "--platform", "linux/amd64,linux/arm64", "-t", "platform/both", "-o", "type=local,dest="+dir+"/both", "-f", dir+"/Dockerfile.both", dir)
		for _, arch := range []string{"amd64", "arm64"} {
			if got, err := os.ReadFile(dir + "/both/linux_" + arch + "/arch"); err != nil || string(got) != arch+"\n" {
				t.Errorf("%s: %q %v", arch, got, err)
			}
		}
		w.run(t, "rmi", "platform/arm", "platform/made", "platform/both")
		w.must(t, "image", "prune", "-f")
	})
	if after, _ := filepath.Glob("/proc/sys/fs/binfmt_misc/*"); len(after) != len(before) {
		t.Errorf("the host's binfmt_misc had %v and has %v", before, after)
	}
}

// runForeign runs the image for arm64, in a sandbox as any other.
func runForeign(t *testing.T, w *who) {
	t.Helper()
	stdout, stderr, code := w.run(t, "run", "--rm", "--limits", "best-effort", "--platform", "linux/arm64", "platform/arm", "uname", "-m")
	switch {
	case w.mode == root && code != 0:
		if !strings.Contains(stderr, "the image is for linux/arm64") || !strings.Contains(stderr, "qemu-user-static") {
			t.Errorf("root: %s", stderr)
		}
	case code != 0 || stdout != "aarch64\n":
		t.Errorf("run: %d %q %s", code, stdout, stderr)
	}
	if _, stderr, code := w.run(t, "run", "--rm", "--pull", "never", "--platform", "linux/s390x", "platform/arm", "true"); code != 125 || !strings.Contains(stderr, "it is for linux/arm64") {
		t.Errorf("for another platform: %d %s", code, stderr)
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
