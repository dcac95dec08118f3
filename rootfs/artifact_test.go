// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

const testArtifact = "application/vnd.example.note+json"

func attach(t modetest.T, s *Store, subject digest.Digest, content string) Artifact {
	t.Helper()
	a, err := s.Attach(t.Context(), subject, testArtifact, []byte(content), map[string]string{"note": content})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func artifacts(t modetest.T, s *Store, subject digest.Digest, kind string) []Artifact {
	t.Helper()
	found, err := s.Artifacts(t.Context(), subject, kind)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestArtifactIsKeptWithItsImage(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "debian:x", entry{name: "f"})
		other := importTar(t, s, "debian:y", entry{name: "g"})
		kept := attach(t, s, img.Digest, `{"a":1}`)
		attach(t, s, other.Digest, `{"b":2}`)
		if err := s.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		found := artifacts(t, s, img.Digest, testArtifact)
		if len(found) != 1 || found[0].Digest != kept.Digest || found[0].Subject != img.Digest || found[0].Annotations["note"] != `{"a":1}` {
			t.Fatalf("got %+v, want %+v", found, kept)
		}
		if data, err := s.ReadArtifact(found[0]); err != nil || string(data) != `{"a":1}` {
			t.Fatalf("content %q, %v", data, err)
		}
		if n := len(artifacts(t, s, img.Digest, "application/other")); n != 0 {
			t.Errorf("%d artifacts of another type", n)
		}
		all, err := s.Images(t.Context())
		if err != nil || len(all) != 2 {
			t.Errorf("%d images listed, %v; artifacts are none", len(all), err)
		}
		if _, err := s.Image(t.Context(), kept.Digest.Encoded()[:12]); !errors.Is(err, ErrNotFound) {
			t.Errorf("an artifact is found as an image: %v", err)
		}
	})
}

func TestArtifactGoesWithItsImage(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		before := files(t, s)
		img := importTar(t, s, "debian:x", entry{name: "f"})
		if err := s.Tag(t.Context(), "debian:x", "debian:y"); err != nil {
			t.Fatal(err)
		}
		attach(t, s, img.Digest, "1")
		if _, err := s.Remove(t.Context(), "debian:x"); err != nil {
			t.Fatal(err)
		}
		if n := len(artifacts(t, s, img.Digest, "")); n != 1 {
			t.Fatalf("%d artifacts while the image has a name left, want 1", n)
		}
		if _, err := s.Remove(t.Context(), "debian:y"); err != nil {
			t.Fatal(err)
		}
		if n := len(artifacts(t, s, img.Digest, "")); n != 0 {
			t.Errorf("%d artifacts after the image was removed", n)
		}
		if after := files(t, s); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Errorf("left behind: %q", after)
		}
	})
}

func TestArtifactIsReplaced(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "debian:x", entry{name: "f"})
		attach(t, s, img.Digest, "old")
		attach(t, s, img.Digest, "new")
		attach(t, s, img.Digest, "new")
		found := artifacts(t, s, img.Digest, testArtifact)
		if len(found) != 1 || found[0].Annotations["note"] != "new" {
			t.Fatalf("got %+v, want the new one only", found)
		}
	})
}

func TestArtifactOfNoImage(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		nothing := digest.FromString("nothing")
		if _, err := s.Attach(t.Context(), nothing, testArtifact, nil, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("attached to nothing: %v", err)
		}
		img := importTar(t, s, "debian:x", entry{name: "f"})
		if _, err := s.Attach(t.Context(), img.Digest, testArtifact, make([]byte, store.MaxArtifact+1), nil); err == nil {
			t.Error("an artifact without bound was taken")
		}
	})
}
