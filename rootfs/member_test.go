// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// A member of an image for several platforms is an image: it is found by its
// digest and id, can be used, tagged, and has things kept about it.
func TestMemberIsAnImage(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		mine := importTar(t, s, "localhost/mine:v1", entry{name: "f", content: "mine"})
		other, err := s.Import(t.Context(), strings.NewReader(string(tarOf(t, entry{name: "f", content: "other"}))), "localhost/other:v1", ImportOptions{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}})
		if err != nil {
			t.Fatal(err)
		}
		idx, err := s.PutIndex(t.Context(), []*Image{other, mine}, []string{"localhost/multi:v1"})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"localhost/mine:v1", "localhost/other:v1"} {
			if _, err := s.Remove(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range []*Image{mine, other} {
			attach(t, s, m.Digest, "about "+m.Digest.String())
			for _, ref := range []string{m.Digest.String(), m.Digest.Encoded()[:12], m.ConfigDigest.String(), "localhost/multi@" + m.Digest.String()} {
				img, err := s.Image(t.Context(), ref)
				if err != nil || img.Digest != m.Digest {
					t.Errorf("%s: %v, %v; want %s", ref, img, err, m.Digest)
					continue
				}
				release, err := s.Use(img)
				if err != nil {
					t.Errorf("use %s: %v", ref, err)
					continue
				}
				release()
			}
			if found, err := s.Artifacts(t.Context(), m.Digest, ""); err != nil || len(found) != 1 {
				t.Errorf("kept about %s: %v, %v", m.Digest, found, err)
			}
			if _, err := s.Remove(t.Context(), m.Digest.String()); !errors.Is(err, ErrMember) || !strings.Contains(err.Error(), "localhost/multi:v1") {
				t.Errorf("a member is removed: %v", err)
			}
		}
		if _, err := s.Image(t.Context(), "localhost/elsewhere@"+mine.Digest.String()); !errors.Is(err, ErrNotFound) {
			t.Errorf("found below another name: %v", err)
		}
		if _, err := s.Attach(t.Context(), idx, "text/x", []byte("x"), nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("something about the index: %v", err)
		}
		// With a name of its own it stays, and what is kept about it.
		if err := s.Tag(t.Context(), other.Digest.String(), "localhost/alone:v1"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Remove(t.Context(), "localhost/multi:v1"); err != nil {
			t.Fatal(err)
		}
		for d, want := range map[*Image]int{mine: 0, other: 1} {
			if found, err := s.Artifacts(t.Context(), d.Digest, ""); err != nil || len(found) != want {
				t.Errorf("kept about %s: %v, %v; want %d", d.Digest, found, err, want)
			}
		}
		if img, err := s.Image(t.Context(), "localhost/alone:v1"); err != nil || img.Digest != other.Digest {
			t.Errorf("%v, %v", img, err)
		}
		if _, err := s.Remove(t.Context(), "localhost/alone:v1"); err != nil {
			t.Fatal(err)
		}
		if left := files(t, s); slices.ContainsFunc(left, func(f string) bool { return strings.Contains(f, "sha256/") }) {
			t.Errorf("left: %v", left)
		}
	})
}

// Names are given all at once or not at all.
func TestName(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := importTar(t, s, "localhost/a:v1", entry{name: "f", content: "a"})
		if names, err := s.Name(t.Context(), img.Digest, []string{"localhost/b:v1", "localhost/c:v1"}); err != nil || len(names) != 3 {
			t.Errorf("%v, %v", names, err)
		}
		if _, err := s.Name(t.Context(), img.Digest, []string{"localhost/d:v1", "NOT a name"}); err == nil {
			t.Error("a name that is none")
		}
		if _, err := s.Image(t.Context(), "localhost/d:v1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("named by half: %v", err)
		}
	})
}
