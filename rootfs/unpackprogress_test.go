// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// actions are what was told of, once in a row.
type actions []string

func (a *actions) event(e Event) {
	if len(*a) == 0 || (*a)[len(*a)-1] != e.Action {
		*a = append(*a, e.Action)
	}
}

// Load unpacks as Pull does, and tells of it; then nothing is left to unpack.
func TestLoadUnpacks(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "one:v1", entry{name: "f", content: "one"})
		data := save(t, s, DockerArchive, "one:v1")
		for _, unpack := range []bool{false, true} {
			o := otherStore(t)
			var seen, after actions
			if _, err := o.Load(t.Context(), bytes.NewReader(data), LoadOptions{Unpack: unpack, Progress: seen.event}); err != nil {
				t.Fatal(err)
			}
			here := o.HaveLayer(img.Config.RootFS.DiffIDs[0])
			if here != unpack || unpack != slices.Equal(seen, actions{"unpack", "sync", "ready"}) {
				t.Errorf("unpack %v: unpacked %v, told of %v", unpack, here, seen)
			}
			o = reopened(t, o, func(o *Options) { o.Progress = after.event })
			layersOf(t, o, find(t, o, "one:v1"))
			if unpack != (len(after) == 0) {
				t.Errorf("unpack %v: then told of %v", unpack, after)
			}
		}
	})
}

// An image that cannot be unpacked is not taken in.
func TestLoadRefusesWhatCannotBeUnpacked(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "one:v1", entry{name: "f", content: "one"})
		wrong := img.Config
		l := img.LayerDescriptors()[0]
		l.DiffID = digest.FromString("another")
		if _, err := s.PutImage(t.Context(), wrong, []LayerDescriptor{l}, []string{"wrong:v1"}); err != nil {
			t.Fatal(err)
		}
		o := otherStore(t)
		_, err := o.Load(t.Context(), bytes.NewReader(save(t, s, OCIArchive, "wrong:v1")), LoadOptions{Unpack: true})
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("loaded: %v", err)
		}
		if _, err := o.Image(t.Context(), "wrong:v1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("it is there: %v", err)
		}
	})
}

// A pull tells of unpacking when the download has ended, and of what was here
// as a blob only.
func TestPullTellsOfUnpacking(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) })
		img := makeImage(t, ociKind, HostPlatform().Architecture, tarOf(t, entry{name: "f", content: strings.Repeat("x", 1<<20)}))
		push(t, host+"/one:1", func(r name.Reference) error { return remote.Write(r, img) })
		var seen actions
		got, err := s.Pull(t.Context(), host+"/one:1", PullOptions{Unpack: true, Progress: seen.event})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(seen); n < 3 || !slices.Equal(seen[n-3:], actions{"unpacked", "sync", "done"}) {
			t.Errorf("told of %v", seen)
		}
		if err := os.RemoveAll(s.layerDir(got.Config.RootFS.DiffIDs[0])); err != nil {
			t.Fatal(err)
		}
		seen = nil
		if _, err := s.Pull(t.Context(), host+"/one:1", PullOptions{Unpack: true, Progress: seen.event}); err != nil {
			t.Fatal(err)
		}
		if want := (actions{"resolve", "exists", "unpack", "sync", "ready"}); !slices.Equal(seen, want) {
			t.Errorf("told of %v, want %v", seen, want)
		}
	})
}
