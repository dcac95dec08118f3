// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// serve starts a registry and returns its address. Change, if set, may alter
// what the registry answers.
func serve(tb testing.TB, change func(w http.ResponseWriter, r *http.Request, next http.Handler)) string {
	tb.Helper()
	h := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if change != nil {
			change(w, r, h)
			return
		}
		h.ServeHTTP(w, r)
	}))
	tb.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

type kind struct {
	manifest, config types.MediaType
	layer            types.MediaType
	with             compression.Compression
}

var (
	dockerKind = kind{types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer, compression.GZip}
	ociKind    = kind{types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer, compression.GZip}
	zstdKind   = kind{types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayerZStd, compression.ZStd}
)

func makeImage(tb testing.TB, k kind, arch string, layers ...[]byte) gcr.Image {
	tb.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, k.manifest), k.config)
	for _, data := range layers {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		l, err := tarball.LayerFromOpener(open, tarball.WithMediaType(k.layer), tarball.WithCompression(k.with))
		if err != nil {
			tb.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			tb.Fatal(err)
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		tb.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture, cfg.OS, cfg.Config.Shell = arch, "linux", []string{"/bin/x"}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		tb.Fatal(err)
	}
	return img
}

func push(tb testing.TB, ref string, put func(name.Reference) error) {
	tb.Helper()
	r, err := name.ParseReference(ref)
	if err == nil {
		err = put(r)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

func TestPull(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		one := tarOf(t, entry{name: "f", content: "lower"}, entry{name: "g", content: "g"})
		two := tarOf(t, entry{name: "f", content: "upper"}, entry{name: ".wh.g"})
		for what, k := range map[string]kind{"docker": dockerKind, "oci": ociKind, "zstd": zstdKind} {
			ref := host + "/test/" + what + ":v1"
			img := makeImage(t, k, goruntime.GOARCH, one, two)
			push(t, ref, func(r name.Reference) error { return remote.Write(r, img) })
			var done int
			got, err := s.Pull(t.Context(), ref, PullOptions{Progress: func(e Event) {
				if e.Action == "done" || e.Action == "exists" {
					done++
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			if want, err := img.Digest(); err != nil || got.Digest.String() != want.String() || done != 2 {
				t.Errorf("%s: digest %s, want %s (%v); %d layers done", what, got.Digest, want, err, done)
			}
			if len(got.Config.Docker.Shell) != 1 || got.Names[0] != ref {
				t.Errorf("%s: config %+v, names %v", what, got.Config.Docker, got.Names)
			}
			mnt := mountImage(t, s, what, MountOptions{Layers: layersOf(t, s, got)})
			if data, err := os.ReadFile(filepath.Join(mnt.Root, "f")); err != nil || string(data) != "upper" {
				t.Errorf("%s: f holds %q, %v", what, data, err)
			}
			if _, err := os.Lstat(filepath.Join(mnt.Root, "g")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: g is there: %v", what, err)
			}
			unmount(t, mnt)
		}
	})
}

// The configuration alone costs no layer, and is that of the platform.
func TestRemoteConfig(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		var layers []string
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				layers = append(layers, r.URL.Path)
			}
			next.ServeHTTP(w, r)
		})
		ref := host + "/test/config:v1"
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: "x"}))
		push(t, ref, func(r name.Reference) error { return remote.Write(r, img) })
		layers = nil
		cfg, err := RemoteConfig(t.Context(), ref, PullOptions{})
		if err != nil || len(cfg.Docker.Shell) != 1 || cfg.Architecture != goruntime.GOARCH {
			t.Errorf("%+v, %v", cfg, err)
		}
		if len(layers) != 1 {
			t.Errorf("read %v, want the configuration alone", layers)
		}
		if _, err := RemoteConfig(t.Context(), host+"/test/none:v1", PullOptions{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("of no image: %v", err)
		}
	})
}

func TestPullPlatformOfIndex(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		mine := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "mine"}))
		other := makeImage(t, ociKind, "s390x", tarOf(t, entry{name: "other"}))
		idx := mutate.AppendManifests(
			empty.Index,
			mutate.IndexAddendum{Add: other, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "linux", Architecture: "s390x"}}},
			mutate.IndexAddendum{Add: mine, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "linux", Architecture: goruntime.GOARCH}}},
		)
		push(t, host+"/multi:v1", func(r name.Reference) error { return remote.WriteIndex(r, idx) })
		list, err := idx.Digest()
		if err != nil {
			t.Fatal(err)
		}
		want, err := mine.Digest()
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{host + "/multi:v1", host + "/multi@" + list.String(), host + "/multi@" + want.String()} {
			img, err := s.Pull(t.Context(), ref, PullOptions{})
			if err != nil || img.Digest.String() != want.String() {
				t.Fatalf("%s: %v, want %s: %v", ref, img, want, err)
			}
			if got := find(t, s, ref); got.Digest != img.Digest {
				t.Errorf("%s: %s afterwards", ref, got.Digest)
			}
		}
	})
}

func TestPullErrors(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		blobs := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") || !strings.Contains(r.URL.Path, "/bad/") {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			data := rec.Body.Bytes()
			if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
				data[len(data)/2] ^= 1
			}
			_, _ = w.Write(data)
		}
		host := serve(t, blobs)
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: strings.Repeat("x", 5000)}))
		push(t, host+"/bad/x:v1", func(r name.Reference) error { return remote.Write(r, img) })
		closed := serve(t, nil)
		down := httptest.NewServer(nil)
		down.Close()
		busy := serve(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) })
		for ref, want := range map[string]error{
			closed + "/no/such:v1":                            ErrNotFound,
			strings.TrimPrefix(down.URL, "http://") + "/x:v1": ErrUnreachable,
			busy + "/private:v1":                              ErrNotFound,
			"no.such.host.invalid/x:v1":                       ErrUnreachable,
			host + "/bad/x:v1":                                ErrCorrupt,
			host + "/bad/x@" + emptyDigest:                    ErrNotFound,
		} {
			if _, err := s.Pull(t.Context(), ref, PullOptions{}); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", ref, err, want)
			}
		}
		if left := files(t, s); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}
