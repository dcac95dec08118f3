// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// serveRegistry serves a registry with one image of one small layer, and
// returns its name. While spoil is set, blobs come with a byte changed.
func serveRegistry(t *testing.T, spoil *atomic.Bool) (ref, digest string) {
	t.Helper()
	handler := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !spoil.Load() || !strings.Contains(r.URL.Path, "/blobs/") {
			handler.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	data := makeTar(t, entry{name: "f", data: strings.Repeat("pulled ", 1000)})
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	ref = strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1) + "/e2e/pulled:1"
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref, d.String()
}

// TestPullOnRun has two sandboxes wait for the same image, which is not there
// yet, and has a registry send what it did not promise.
func TestPullOnRun(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		o := newStore(t, w)
		var spoil atomic.Bool
		ref, digest := serveRegistry(t, &spoil)

		spoil.Store(true)
		o.fails(t, 125, []string{"cannot be pulled", "sha256"}, "run", "--rm", ref, "/f")
		o.fails(t, 1, []string{"cpc pull: ", "sha256"}, "pull", ref)
		o.clean(t)
		if got := o.must(t, "images", "-q"); got != "" {
			t.Errorf("images after a spoilt pull: %q", got)
		}
		spoil.Store(false)

		var wg sync.WaitGroup
		var pulls atomic.Int32
		for range 2 {
			cmd := o.cpc("run", "--rm", ref, "/etc/nothing")
			wg.Go(func() {
				out, _ := cmd.CombinedOutput()
				if code := exitCode(cmd); code != 127 {
					t.Errorf("exit status %d: %s", code, out)
				}
				if strings.Contains(string(out), "is not in the store; pulling it") {
					pulls.Add(1)
				}
			})
		}
		wg.Wait()
		if pulls.Load() == 0 {
			t.Error("no run says that it pulls")
		}
		o.clean(t)
		if got := o.must(t, "pull", "-q", ref); got != digest+"\n" {
			t.Errorf("pulled %q, not %q", got, digest)
		}
		o.fails(t, 127, nil, "run", "--rm", "--pull", "always", ref, "/etc/nothing")
		at := strings.TrimSuffix(ref, ":1") + "@" + digest
		o.fails(t, 127, nil, "run", "--rm", "--pull", "never", at, "/etc/nothing")
		o.fails(t, 1, []string{"no such image"}, "pull", ref+"-not")
	})
}

// TestListings has every command that lists print JSON, which is parsed, and
// finds images by the start of their ids.
func TestListings(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--label", "a=b c", "--label", "weird=\"\n\u202e"}, "sleep", "60")
		for _, args := range [][]string{
			{"ps", "--json"}, {"images", "--json"}, {"inspect", name}, {"inspect", base}, {"inspect", "--format", "json", name, base},
		} {
			var all []map[string]any
			if err := json.Unmarshal([]byte(w.must(t, args...)), &all); err != nil || len(all) == 0 {
				t.Errorf("cpc %s: %v, %d", strings.Join(args, " "), err, len(all))
			}
		}
		for _, args := range [][]string{
			{"ps", "--format", "json"}, {"images", "--format", "json"}, {"images", "--format", "{{json .}}"}, {"inspect", "--format", "{{json .Config}}", name},
		} {
			for _, line := range lines(w.must(t, args...)) {
				if !json.Valid([]byte(line)) {
					t.Errorf("cpc %s: %q", strings.Join(args, " "), line)
				}
			}
		}
		if got := w.must(t, "ps", "--format", "table {{.Names}}\t{{.Image}}"); len(lines(got)) != 2 || !strings.HasPrefix(got, "NAMES") {
			t.Errorf("table: %q", got)
		}
		id := strings.TrimSpace(w.must(t, "images", "-q", base))
		if got := w.inspect(t, id[:6], ".Id"); !strings.HasPrefix(got, "sha256:"+id) {
			t.Errorf("by the start of its id: %q", got)
		}
		w.must(t, "run", "--rm", "--pull", "never", id, "true")
		full := strings.TrimSpace(w.must(t, "ps", "-q", "--no-trunc"))
		if got := w.inspect(t, full[:5], ".Name"); got != name {
			t.Errorf("sandbox by the start of its id: %q", got)
		}
		if !slices.Contains(lines(w.must(t, "ps", "-q")), full[:12]) {
			t.Error("the short id is not the start of the long one")
		}
	})
}
