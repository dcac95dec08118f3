// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func TestMain(m *testing.M) { modetest.Main(m) }

// entry is one entry of a tar stream for a test.
type entry struct {
	name, content string
	link          string
	kind          byte
	mode          int64
	uid, gid      int
	pax           map[string]string
}

var testTime = time.Unix(1_700_000_000, 123_000_000)

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		hdr := &tar.Header{
			Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.gid,
			Size: int64(len(e.content)), ModTime: testTime, PAXRecords: e.pax, Format: tar.FormatPAX,
		}
		if hdr.Typeflag == 0 {
			hdr.Typeflag = tar.TypeReg
		}
		if hdr.Mode == 0 {
			hdr.Mode = 0o755
		}
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func openStore(t *testing.T, m idmap.Mapping) *Store {
	t.Helper()
	s, err := Open(Options{Dir: filepath.Join(t.TempDir(), "store"), Mapping: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func importTar(t *testing.T, s *Store, name string, entries ...entry) *Image {
	t.Helper()
	img, err := s.Import(t.Context(), bytes.NewReader(tarOf(t, entries...)), name, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func layersOf(t *testing.T, s *Store, img *Image) []Layer {
	t.Helper()
	layers, err := s.Layers(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	return layers
}

// mountImage mounts the layers with a new scratch directory.
func mountImage(t *testing.T, s *Store, id string, o MountOptions) *Mounted {
	t.Helper()
	scratch, err := s.NewScratch(id)
	if err != nil {
		t.Fatal(err)
	}
	o.Scratch, o.Target, o.Mapping = scratch, filepath.Join(scratch, "merged"), s.o.Mapping
	if err := os.Mkdir(o.Target, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := Mount(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func unmount(t *testing.T, m *Mounted) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func mustWrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
