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

func tarOf(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
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
			tb.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.content); err != nil {
			tb.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func openStore(tb testing.TB, m idmap.Mapping) *Store {
	tb.Helper()
	s, err := Open(Options{Dir: filepath.Join(tb.TempDir(), "store"), Mapping: m})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func importTar(tb testing.TB, s *Store, name string, entries ...entry) *Image {
	tb.Helper()
	img, err := s.Import(tb.Context(), bytes.NewReader(tarOf(tb, entries...)), name, ImportOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return img
}

func layersOf(tb testing.TB, s *Store, img *Image) []Layer {
	tb.Helper()
	layers, err := s.Layers(tb.Context(), img)
	if err != nil {
		tb.Fatal(err)
	}
	return layers
}

// mountImage mounts the layers with a new scratch directory.
func mountImage(tb testing.TB, s *Store, id string, o MountOptions) *Mounted {
	tb.Helper()
	scratch, err := s.NewScratch(id)
	if err != nil {
		tb.Fatal(err)
	}
	o.Scratch, o.Target, o.Mapping = scratch, filepath.Join(scratch, "merged"), s.Options().Mapping
	if err := os.Mkdir(o.Target, 0o700); err != nil {
		tb.Fatal(err)
	}
	m, err := Mount(o)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func unmount(tb testing.TB, m *Mounted) {
	tb.Helper()
	if err := m.Close(); err != nil {
		tb.Error(err)
	}
}

func mustWrite(tb testing.TB, path, content string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		tb.Fatal(err)
	}
}
