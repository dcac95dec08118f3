// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// keepingOps are what may be interrupted, too, and leaves the images that are
// sound as they are.
func keepingOps() map[string]func(ctx context.Context, s *Store, arg string) error {
	return map[string]func(ctx context.Context, s *Store, arg string) error{
		"push": func(ctx context.Context, s *Store, arg string) error {
			_, err := s.Push(ctx, arg, PushOptions{})
			return err
		},
		"save": func(ctx context.Context, s *Store, _ string) error {
			return s.Save(ctx, io.Discard, []string{"a:1", "b:1"}, SaveOptions{Format: DockerArchive})
		},
		"save to a directory": func(ctx context.Context, s *Store, arg string) error {
			return s.SaveDir(ctx, filepath.Join(arg, "layout"), []string{"a:1"}, SaveOptions{})
		},
		"repair": func(ctx context.Context, s *Store, _ string) error {
			_, err := s.Check(ctx, true)
			return err
		},
	}
}

// killPoints are times over a work that takes that long, and a little more.
func killPoints(took time.Duration) []time.Duration {
	const points = 10
	var out []time.Duration
	for i := range points {
		out = append(out, max(time.Microsecond, took*time.Duration(i)/(points-2)))
	}
	return out
}

// What only reads is killed at many points: nothing of it stays, not in a
// registry either: the next push sends what is missing.
func TestKilledReader(t *testing.T) {
	for _, op := range []string{"push", "save", "save to a directory"} {
		t.Run(op, func(t *testing.T) {
			single(t, func(t modetest.T, _ *Store) {
				var took time.Duration
				try := func(after time.Duration) {
					s, arg := killedState(t), t.TempDir()
					if op == "push" {
						arg = serve(t, nil) + "/a:1"
						if err := s.Tag(t.Context(), "a:1", arg); err != nil {
							t.Fatal(err)
						}
					}
					before := imageNames(t, s)
					took = max(took, runKilled(t, s, []string{op, arg}, after))
					killedCheck(t, s, before, before)
					if op != "push" {
						return
					}
					if _, err := s.Push(t.Context(), arg, PushOptions{}); err != nil {
						t.Errorf("pushed again: %v", err)
					}
					if got, err := otherStore(t).Pull(t.Context(), arg, PullOptions{Unpack: true}); err != nil || got.Digest != find(t, s, "a:1").Digest {
						t.Errorf("pulled: %v %v", got, err)
					}
				}
				try(0)
				for _, after := range killPoints(took) {
					try(after)
				}
			})
		})
	}
}

// A repair is killed at many points: the next one finishes it, and what was
// sound is as it was.
func TestKilledRepair(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		spoilt := func() *Store {
			s := killedState(t)
			mustWrite(t, s.blobPath(find(t, s, "b:1").Manifest.Layers[0].Digest), "spoilt")
			mustWrite(t, s.blobPath(digest.FromString("nobody's")), "nobody's")
			mustMkdir(t, s.layerDir(digest.FromString("half"))+".rm")
			mustWrite(t, s.cachePath(digest.FromString("cache")), "nonsense")
			return s
		}
		s := spoilt()
		took := runKilled(t, s, []string{"repair", ""}, 0)
		after := imageNames(t, s)
		if !slices.Contains(after, "a:1") || slices.Contains(after, "b:1") {
			t.Fatalf("repaired, it has %v", after)
		}
		for _, when := range killPoints(took) {
			s := spoilt()
			runKilled(t, s, []string{"repair", ""}, when)
			s, err := Open(s.Options())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Check(t.Context(), true); err != nil {
				t.Errorf("repaired again: %v", err)
			}
			killedCheck(t, s, after, after)
		}
	})
}
