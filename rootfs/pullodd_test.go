// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// alteration is what a test makes of a manifest: another type and other bytes.
type alteration func(m map[string]any) (contentType string, body []byte)

// asJSON is an alteration of some fields only.
func asJSON(tb testing.TB, contentType string, edit func(m map[string]any)) alteration {
	tb.Helper()
	return func(m map[string]any) (string, []byte) {
		edit(m)
		data, err := json.Marshal(m)
		if err != nil {
			tb.Error(err)
		}
		return contentType, data
	}
}

// oddRegistry serves one image, whose manifest is changed by the name that it
// is asked for by.
func oddRegistry(tb testing.TB, img gcr.Image, changes map[string]alteration) string {
	tb.Helper()
	raw, err := img.RawManifest()
	if err != nil {
		tb.Fatal(err)
	}
	host := serve(tb, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		parts := strings.Split(r.URL.Path, "/")
		c, ok := changes[parts[min(2, len(parts)-1)]]
		if !ok || !strings.Contains(r.URL.Path, "/manifests/") || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			tb.Error(err)
		}
		contentType, body := c(m)
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	})
	for repository := range changes {
		push(tb, host+"/"+repository+":v1", func(r name.Reference) error { return remote.Write(r, img) })
	}
	return host
}

func firstLayer(m map[string]any) map[string]any {
	return m["layers"].([]any)[0].(map[string]any) //nolint:forcetypeassert // it is this test's own
}

// What a registry may have that is no image, or none that can be had, is named
// for what it is, and nothing of it stays. What is only called something else
// is taken.
func TestPullOddities(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		const oci = "application/vnd.oci.image.manifest.v1+json"
		nowhere := "sha256:" + strings.Repeat("ab", 32)
		changes := map[string]alteration{
			"schema1": asJSON(t, "application/vnd.docker.distribution.manifest.v1+prettyjws", func(m map[string]any) { m["schemaVersion"] = 1 }),
			"page":    func(map[string]any) (string, []byte) { return "text/html", []byte("<html>log in to the network") },
			"cut":     func(map[string]any) (string, []byte) { return oci, []byte(`{"schemaVersion":2,`) },
			"large": asJSON(t, oci, func(m map[string]any) {
				m["annotations"] = map[string]string{"a": strings.Repeat("x", store.MaxDocument)}
			}),
			"chart": asJSON(t, oci, func(m map[string]any) {
				m["config"].(map[string]any)["mediaType"] = "application/vnd.cncf.helm.config.v1+json" //nolint:forcetypeassert // it is this test's own
			}),
			"encrypted": asJSON(t, oci, func(m map[string]any) {
				firstLayer(m)["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
			}),
			"foreign": asJSON(t, oci, func(m map[string]any) {
				l := firstLayer(m)
				l["digest"], l["urls"] = nowhere, []string{"http://169.254.169.254/layer"}
			}),
			"sha512": asJSON(t, oci, func(m map[string]any) { firstLayer(m)["digest"] = "sha512:" + strings.Repeat("ab", 64) }),
			"fine":   asJSON(t, "application/json", func(map[string]any) {}),
			"nameless": asJSON(t, oci, func(m map[string]any) {
				delete(firstLayer(m), "mediaType")
				delete(m, "mediaType")
			}),
		}
		host := oddRegistry(t, makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: "x"})), changes)
		for repository, want := range map[string]struct {
			err  error
			says string
		}{
			"schema1":   {ErrNoImage, "schema 1"},
			"page":      {ErrArrival, "text/html"},
			"cut":       {ErrArrival, "JSON"},
			"large":     {nil, "too many"},
			"chart":     {ErrNoImage, "helm"},
			"encrypted": {ErrNoImage, "encrypted"},
			"foreign":   {ErrNoImage, "http://169.254.169.254/layer"},
			"sha512":    {nil, "only sha256"},
			"fine":      {}, "nameless": {},
		} {
			o := otherStore(t)
			img, err := o.Pull(t.Context(), host+"/"+repository+":v1", PullOptions{Unpack: true})
			if want.says == "" {
				if err != nil || find(t, o, host+"/"+repository+":v1").Digest != img.Digest {
					t.Errorf("%s: %v", repository, err)
				}
				continue
			}
			if err == nil || want.err != nil && !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.says) {
				t.Errorf("%s: %v, want %v that says %q", repository, err, want.err, want.says)
			}
			if left := files(t, o); len(left) != 0 {
				t.Errorf("%s: left %v", repository, left)
			}
		}
	})
}

// A list without the platform says which there are; so does an image for
// another system. An error of the kernel is not taken for one of the network.
func TestPullSaysWhatThereIs(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		other := makeImage(t, ociKind, "s390x", tarOf(t, entry{name: "other"}))
		idx := mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: other, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "linux", Architecture: "s390x"}}},
			mutate.IndexAddendum{Add: other, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}}})
		push(t, host+"/list:v1", func(r name.Reference) error { return remote.WriteIndex(r, idx) })
		cfg, err := other.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		cfg.OS = "windows"
		elsewhere, err := mutate.ConfigFile(other, cfg)
		if err != nil {
			t.Fatal(err)
		}
		push(t, host+"/windows:v1", func(r name.Reference) error { return remote.Write(r, elsewhere) })
		broken := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "h", kind: '1', link: "nothing"}))
		push(t, host+"/broken:v1", func(r name.Reference) error { return remote.Write(r, broken) })

		if _, err := s.Pull(t.Context(), host+"/list:v1", PullOptions{}); !errors.Is(err, ErrNoPlatform) || !strings.Contains(err.Error(), "linux/s390x, linux/arm/v7") {
			t.Errorf("list: %v", err)
		}
		if _, err := s.Pull(t.Context(), host+"/windows:v1", PullOptions{}); !errors.Is(err, ErrNoPlatform) || !strings.Contains(err.Error(), "windows/s390x") {
			t.Errorf("windows: %v", err)
		}
		if _, err := s.Pull(t.Context(), host+"/broken:v1", PullOptions{Unpack: true}); err == nil || errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "hard link") {
			t.Errorf("broken: %v", err)
		}
	})
}

// A token that has run out while a layer is sent is renewed, and the layer is
// sent again from its beginning.
func TestPushRenewsToken(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		var tokens, refused atomic.Int64
		ask := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		}
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			switch {
			case r.URL.Path == "/token":
				_, _ = fmt.Fprintf(w, `{"token":"t%d"}`, tokens.Add(1))
			case r.Header.Get("Authorization") == "":
				ask(w, r)
			case r.Method == http.MethodPatch && r.ContentLength > 100_000 && refused.Add(1) == 1:
				_, _ = io.Copy(io.Discard, r.Body)
				ask(w, r)
			default:
				next.ServeHTTP(w, r)
			}
		})
		img := importTar(t, s, host+"/one:v1", entry{name: "f", content: noise(300_000)})
		client := registry.New(registry.Options{Pause: time.Millisecond})
		if done, err := s.Push(t.Context(), host+"/one:v1", PushOptions{Client: client}); err != nil || done.Digest != img.Digest {
			t.Fatalf("pushed %+v, %v", done, err)
		}
		if refused.Load() < 2 || tokens.Load() < 2 {
			t.Errorf("%d uploads, %d tokens", refused.Load(), tokens.Load())
		}
		if got, err := otherStore(t).Pull(t.Context(), host+"/one:v1", PullOptions{Client: client}); err != nil || got.Digest != img.Digest {
			t.Errorf("pulled %v, %v", got, err)
		}
	})
}
