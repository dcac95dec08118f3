// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// manyLayers are a manifest and a configuration that say n layers.
func manyLayers(t modetest.T, n int) (manifest, config []byte) {
	t.Helper()
	var m v1.Manifest
	m.SchemaVersion = 2
	var c Config
	c.Architecture, c.OS = HostPlatform().Architecture, "linux"
	for i := range n {
		d := digest.FromString(fmt.Sprint(i))
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: d, Size: 1})
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, d)
	}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	if manifest, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return manifest, config
}

// bigTar is a tar of big files with the documents where they are put.
func bigTar(t modetest.T, first, last map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	put := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range first {
		put(name, data)
	}
	for i := range 4 {
		put(fmt.Sprintf("l%d/layer.tar", i), make([]byte, 2*store.MaxDocument))
	}
	for name, data := range last {
		put(name, data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readMeter counts what is read.
type readMeter struct {
	io.ReadSeeker
	n int
}

func (r *readMeter) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	r.n += n
	return n, err
}

// An image with too many layers is refused before any of them is read.
func TestTooManyLayersAtOnce(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		manifest, config := manyLayers(t, store.MaxLayers+1)
		list := []byte(`[{"Config":"c","RepoTags":["many:1"],"Layers":["` + strings.Repeat(`l0/layer.tar","`, store.MaxLayers) + `l0/layer.tar"]}]`)
		blob := "blobs/sha256/" + digest.FromBytes(manifest).Encoded()
		for what, docs := range map[string]map[string][]byte{
			"docker's list": {dockerManifestFile: list}, "configuration": {"c": config}, "manifest": {blob: manifest},
		} {
			refused := func(how string, r io.Reader, read *readMeter) {
				_, err := s.Load(t.Context(), r, LoadOptions{})
				if err == nil || !strings.Contains(err.Error(), "layers: at most") {
					t.Errorf("%s %s: %v", what, how, err)
				}
				if read.n > 1<<20 {
					t.Errorf("%s %s: read %d bytes", what, how, read.n)
				}
			}
			last := &readMeter{ReadSeeker: bytes.NewReader(bigTar(t, nil, docs))}
			refused("last in a file", last, last)
			first := &readMeter{ReadSeeker: bytes.NewReader(bigTar(t, docs, nil))}
			refused("first in a pipe", io.MultiReader(first), first)
		}
		dir := t.TempDir()
		for name, data := range map[string][]byte{blob: manifest, v1.ImageIndexFile: []byte("{}"), v1.ImageLayoutFile: []byte("{}")} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, filepath.Join(dir, name), string(data))
		}
		if _, err := s.LoadDir(t.Context(), dir, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "read layout: "+blob) {
			t.Errorf("directory: %v", err)
		}
		// The limit itself is fine, and other documents are nobody's business.
		_, config = manyLayers(t, store.MaxLayers)
		good := bigTar(t, map[string][]byte{"c": config, "bom.json": []byte(`{"layers":[` + strings.Repeat("1,", store.MaxLayers) + `1]}`)}, nil)
		if _, err := s.Load(t.Context(), bytes.NewReader(good), LoadOptions{}); err == nil || strings.Contains(err.Error(), "layers") {
			t.Errorf("a good archive without a list: %v", err)
		}
	})
}

// The same for an image of a registry.
func TestPullTooManyLayers(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		var blobs atomic.Int32
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				blobs.Add(1)
			}
			next.ServeHTTP(w, r)
		})
		manifest, _ := manyLayers(t, store.MaxLayers+1)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v2/many/manifests/1", bytes.NewReader(manifest))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", v1.MediaTypeImageManifest)
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatal(resp, err)
		}
		defer resp.Body.Close()
		if _, err := s.Pull(t.Context(), host+"/many:1", PullOptions{}); err == nil || !strings.Contains(err.Error(), "layers: at most") || blobs.Load() > 0 {
			t.Errorf("%v, after %d blobs", err, blobs.Load())
		}
	})
}
