// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func TestMain(m *testing.M) { modetest.Main(m) }

func single(t *testing.T, f func(t modetest.T, s *Store)) {
	t.Helper()
	modetest.In(t, []idmap.Mode{idmap.Single}, func(t modetest.T) {
		s, err := Open(Options{Dir: filepath.Join(t.TempDir(), "store"), Mapping: t.Mapping})
		if err != nil {
			t.Fatal(err)
		}
		f(t, s)
	})
}

// tarOf is a tar of one file.
func tarOf(tb testing.TB, content string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// download is what a registry has of a layer.
func download(tb testing.TB, content string) (LayerDescriptor, []byte) {
	tb.Helper()
	plain := tarOf(tb, content)
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(plain)
	if err = errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	d := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromBytes(buf.Bytes()), Size: int64(buf.Len())}
	return LayerDescriptor{Descriptor: d, DiffID: digest.FromBytes(plain)}, buf.Bytes()
}

// commit gives a name to an image of these layers.
func commit(ctx context.Context, b *Batch, name string, layers ...LayerDescriptor) error {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	m.SchemaVersion = 2
	var cfg Config
	cfg.Architecture, cfg.RootFS.DiffIDs, cfg.Author = "amd64", []digest.Digest{}, name
	for _, l := range layers {
		m.Layers, cfg.RootFS.DiffIDs = append(m.Layers, l.Descriptor), append(cfg.RootFS.DiffIDs, l.DiffID)
	}
	var err error
	if m.Config, err = b.JSON(cfg, v1.MediaTypeImageConfig); err != nil {
		return err
	}
	d, err := b.JSON(m, v1.MediaTypeImageManifest)
	if err != nil {
		return err
	}
	if _, err := LoadImage(b, d); err != nil {
		return fmt.Errorf("staged: %w", err)
	}
	return b.Commit(ctx, func(idx *v1.Index) error {
		AddNames(idx, d, []string{name})
		return nil
	})
}

// writers are the ways by which something comes into a batch.
func writers(t modetest.T) map[string]func(b *Batch) ([]LayerDescriptor, error) {
	t.Helper()
	return map[string]func(b *Batch) ([]LayerDescriptor, error){
		"documents": func(*Batch) ([]LayerDescriptor, error) { return nil, nil },
		"blob": func(b *Batch) ([]LayerDescriptor, error) {
			l, data := download(t, "a blob")
			return []LayerDescriptor{l}, b.Blob(bytes.NewReader(data), l.Descriptor)
		},
		"tar": func(b *Batch) ([]LayerDescriptor, error) {
			l, err := b.Tar(t.Context(), bytes.NewReader(tarOf(t, "a tar")))
			return []LayerDescriptor{l}, err
		},
		"layer": func(b *Batch) ([]LayerDescriptor, error) {
			l, data := download(t, "a layer")
			if err := b.Claim(t.Context(), []LayerDescriptor{l}); err != nil {
				return nil, err
			}
			_, err := b.Layer(t.Context(), l, LayerOptions{Unpack: true}, func(_ context.Context, p *Part) error {
				_, err := p.Write(data)
				return err
			})
			return []LayerDescriptor{l}, err
		},
		"upper": func(b *Batch) ([]LayerDescriptor, error) {
			dir, err := b.s.NewScratch("work")
			if err != nil {
				return nil, err
			}
			upper := filepath.Join(dir, "upper")
			if err := errors.Join(os.Mkdir(upper, 0o755), os.WriteFile(filepath.Join(upper, "f"), []byte("an upper"), 0o600)); err != nil { //nolint:gosec // as in an image
				return nil, err
			}
			l, err := b.Upper(t.Context(), upper)
			return []LayerDescriptor{l}, err
		},
	}
}

// A process that ends at any step of a writer leaves the images from before or those
// from after, and nothing that is damaged or stays after a collection. What is named
// is durable: the sync comes before the first place, the places before the index.
func TestCrashAtEachStep(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		old, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l, err := old.Tar(t.Context(), bytes.NewReader(tarOf(t, "old")))
		if err == nil {
			err = commit(t.Context(), old, "old", l)
		}
		if err = errors.Join(err, old.Close()); err != nil {
			t.Fatal(err)
		}
		for what, write := range writers(t) {
			t.Logf("%s: %v", what, crashes(t, copied(t, s), write))
		}
	})
}

// copied opens a copy of a store, as it is on disk.
func copied(t modetest.T, s *Store) *Store {
	t.Helper()
	o := s.Options()
	o.Dir = copyOf(t, s)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func copyOf(t modetest.T, s *Store) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", s.dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// crashes writes and looks at what each step leaves. It returns the steps.
func crashes(t modetest.T, s *Store, write func(b *Batch) ([]LayerDescriptor, error)) []string {
	t.Helper()
	var steps, left []string
	s.reached = func(step string) { steps, left = append(steps, step), append(left, copyOf(t, s)) }
	b, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	layers, err := write(b)
	s.step("staged")
	if err == nil {
		err = commit(t.Context(), b, "new", layers...)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	s.step("closed")
	at := func(step string) int { return slices.Index(steps, step) }
	if at("synced") != 1 || at("places synced") != at("index changed")-1 || at("index changed") != len(steps)-2 {
		t.Errorf("in another order: %v", steps)
	}
	for i, step := range steps {
		o := s.Options()
		o.Dir = left[i]
		want := []string{"old"}
		if i >= at("index changed") {
			want = append(want, "new")
		}
		afterCrash(t, o, step, want)
	}
	return steps
}

func afterCrash(t modetest.T, o Options, step string, want []string) {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Check(t.Context(), false)
	for _, f := range found {
		if !f.Leftover {
			t.Errorf("%s: %+v", step, f)
		}
	}
	idx, indexErr := s.Index()
	if err = errors.Join(err, indexErr); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range idx.Manifests {
		names = append(names, RefName(d))
	}
	if !slices.Equal(names, want) {
		t.Errorf("%s: images %v, want %v", step, names, want)
	}
	if err := errors.Join(s.RemoveScratch("work"), s.Collect(t.Context())); err != nil {
		t.Errorf("%s: %v", step, err)
	}
	if found, err := s.Check(t.Context(), false); err != nil || len(found) > 0 {
		t.Errorf("%s: after a collection: %+v, %v", step, found, err)
	}
	if entries, err := os.ReadDir(s.path("tmp")); err != nil || len(entries) > 0 {
		t.Errorf("%s: tmp has %v, %v", step, entries, err)
	}
}

// Each of several unpacked layers comes to its place, not the first one only.
func TestManyLayersArePlaced(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		b, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var layers []LayerDescriptor
		coming := map[digest.Digest][]byte{}
		for _, content := range []string{"first", "second", "third"} {
			l, data := download(t, content)
			layers, coming[l.Descriptor.Digest] = append(layers, l), data
		}
		if err := b.Claim(t.Context(), layers); err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			_, err := b.Layer(t.Context(), l, LayerOptions{Unpack: true}, func(_ context.Context, p *Part) error {
				_, err := p.Write(coming[l.Descriptor.Digest])
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Keep(); err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			if !s.HaveLayer(l.DiffID) || !s.Stored(l.Descriptor.Digest) {
				t.Errorf("layer %s: unpacked: %v, stored: %v", l.DiffID, s.HaveLayer(l.DiffID), s.Stored(l.Descriptor.Digest))
			}
		}
	})
}

// What is not committed is gone with the batch, of every writer.
func TestCloseDrops(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		for what, write := range writers(t) {
			b, err := s.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := write(b); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if err := errors.Join(b.Close(), s.RemoveScratch("work")); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, dir := range []string{blobDir, "layers/" + s.Variant(), "tmp"} {
			if entries, err := os.ReadDir(s.path(dir)); err != nil || len(entries) > 0 {
				t.Errorf("%s has %v, %v", dir, entries, err)
			}
		}
	})
}

// What is not what its digest says is not staged.
func TestBatchVerifies(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		b, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l, data := download(t, "x")
		for _, bad := range [][]byte{data[1:], append(bytes.Clone(data), 0), nil} {
			if err := b.Blob(bytes.NewReader(bad), l.Descriptor); !errors.Is(err, ErrCorrupt) {
				t.Errorf("blob of %d bytes: %v", len(bad), err)
			}
			if err := b.Claim(t.Context(), []LayerDescriptor{l}); err != nil {
				t.Fatal(err)
			}
			_, err := b.Layer(t.Context(), l, LayerOptions{Unpack: true}, func(_ context.Context, p *Part) error {
				_, err := p.Write(bad)
				return err
			})
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("layer of %d bytes: %v", len(bad), err)
			}
		}
		if b.Stored(l.Descriptor.Digest) {
			t.Error("it is staged")
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Nothing is collected while a batch is open.
func TestNothingIsCollectedBesideABatch(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		b, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d, err := b.Document([]byte(strings.Repeat("x", 10)), "text/plain")
		if err = errors.Join(err, b.Keep(), s.Collect(t.Context())); err != nil || !s.Stored(d.Digest) {
			t.Errorf("beside a batch: %v, there: %v", err, s.Stored(d.Digest))
		}
		if err := errors.Join(b.Close(), s.Collect(t.Context())); err != nil || s.Stored(d.Digest) {
			t.Errorf("afterwards: %v, there: %v", err, s.Stored(d.Digest))
		}
	})
}
