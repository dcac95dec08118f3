// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func TestImportForms(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		plain := tarOf(t, entry{name: "./", kind: tar.TypeDir}, entry{name: "./f", content: "x"})
		var gz, zs bytes.Buffer
		z := gzip.NewWriter(&gz)
		if _, err := z.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		w, err := zstd.NewWriter(&zs)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var diffID string
		for what, data := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
			img, err := s.Import(t.Context(), bytes.NewReader(data), what, ImportOptions{Comment: what})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			got := img.Config.RootFS.DiffIDs[0].String()
			if diffID != "" && got != diffID {
				t.Errorf("%s: diff id %s, want %s as of the others", what, got, diffID)
			}
			diffID = got
			if c := img.Config.Config; len(c.Env) != 1 || len(c.Cmd) != 1 || img.Config.History[0].Comment != what {
				t.Errorf("%s: config %+v", what, img.Config)
			}
		}
		cfg := Config{}
		cfg.Config.User = "me"
		img, err := s.Import(t.Context(), bytes.NewReader(plain), "own", ImportOptions{Config: &cfg})
		if err != nil || img.Config.Config.User != "me" || len(img.Config.Config.Cmd) != 0 || img.Config.OS != "linux" {
			t.Errorf("own config: %+v %v", img, err)
		}
	})
}

// Programs of Debian's read what we write, by the name that we give.
func TestOtherToolsRead(t *testing.T) {
	for _, tool := range []string{"skopeo", "umoci"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: install the package %s", err, tool)
		}
	}
	modetest.In(t, []idmap.Mode{idmap.Mapped}, func(t modetest.T) {
		m := t.Mapping
		s := openStore(t, m)
		base := importTar(t, s, "debian:trixie-slim", entry{name: "./", kind: tar.TypeDir}, entry{name: "etc/old", content: "o"}, entry{name: "etc/f", content: "f"})
		mnt := mountImage(t, s, "b", MountOptions{Layers: layersOf(t, s, base), StoreUpper: true})
		if err := os.Remove(filepath.Join(mnt.Root, "etc/old")); err != nil {
			t.Fatal(err)
		}
		writeAs(t, filepath.Join(mnt.Root, "etc/new"), callerIDs(t, m, 0, 0))
		unmount(t, mnt)
		l, err := s.CommitUpper(t.Context(), mnt.Upper)
		if err != nil {
			t.Fatal(err)
		}
		cfg := base.Config
		cfg.Docker.Shell = []string{"/bin/bash"}
		img, err := s.PutImage(t.Context(), cfg, append(base.LayerDescriptors(), l), []string{"claude-pocket-console/sandbox:latest"})
		if err != nil {
			t.Fatal(err)
		}
		at := s.path("oci") + ":" + img.Names[0]
		var inspect struct {
			Digest string
			Layers []string
		}
		if err := json.Unmarshal(output(t, "skopeo", "inspect", "oci:"+at), &inspect); err != nil {
			t.Fatal(err)
		}
		if inspect.Digest != img.Digest.String() || len(inspect.Layers) != 2 {
			t.Errorf("skopeo sees %+v, want %s with 2 layers", inspect, img.Digest)
		}
		output(t, "skopeo", "copy", "--insecure-policy", "oci:"+at, "oci:"+filepath.Join(t.TempDir(), "copy")+":x")
		if names := string(output(t, "umoci", "ls", "--layout", s.path("oci"))); !strings.Contains(names, img.Names[0]) || !strings.Contains(names, base.Names[0]) {
			t.Errorf("umoci lists %q", names)
		}
		bundle := filepath.Join(t.TempDir(), "bundle")
		output(t, "umoci", "unpack", "--rootless", "--image", at, bundle)
		for name, want := range map[string]bool{"etc/f": true, "etc/new": true, "etc/old": false} {
			if _, err := os.Lstat(filepath.Join(bundle, "rootfs", name)); (err == nil) != want {
				t.Errorf("umoci unpacked %s: %v, want %v", name, err == nil, want)
			}
		}
	})
}

func output(tb testing.TB, name string, args ...string) []byte {
	tb.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+tb.TempDir(), "XDG_RUNTIME_DIR="+tb.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s: %v\n%s", cmd, err, stderr.Bytes())
	}
	return out
}
