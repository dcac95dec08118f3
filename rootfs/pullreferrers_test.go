// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"errors"
	"io"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// What a registry keeps about an image comes along if that is wanted: cpc's own
// and what others attach, which stays with the image and can be sent on. What
// has a form that is not kept is told of.
func TestPullReferrers(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		ref := host + "/one:v1"
		img := importTar(t, s, ref, entry{name: "f", content: "x"})
		attach(t, s, img.Digest, "about it")
		if _, err := s.Push(t.Context(), ref, PushOptions{}); err != nil {
			t.Fatal(err)
		}
		const signature, odd = types.MediaType("application/vnd.example.signature"), types.MediaType("application/vnd.example.odd")
		refer(t, ref, signature, 1)
		refer(t, ref, odd, 2)

		var warned []string
		o := reopened(t, otherStore(t), func(o *Options) { o.Warn = func(text string) { warned = append(warned, text) } })
		if _, err := o.Pull(t.Context(), ref, PullOptions{}); err != nil || len(artifacts(t, o, img.Digest, "")) != 0 {
			t.Fatalf("not asked for, they came: %v", err)
		}
		if _, err := o.Pull(t.Context(), ref, PullOptions{Referrers: true}); err != nil {
			t.Fatal(err)
		}
		if len(warned) != 1 || !strings.Contains(warned[0], string(odd)) {
			t.Errorf("warned of %q", warned)
		}
		if err := o.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found, err := o.Check(t.Context(), false); err != nil || len(found) != 0 {
			t.Errorf("check: %+v %v", found, err)
		}
		note, sig := artifacts(t, o, img.Digest, testArtifact), artifacts(t, o, img.Digest, string(signature))
		if len(note) != 1 || len(sig) != 1 {
			t.Fatalf("came: %+v %+v", note, sig)
		}
		if data, err := o.ReadArtifact(note[0]); err != nil || string(data) != "about it" {
			t.Errorf("content %q, %v", data, err)
		}
		if images, err := o.Images(t.Context()); err != nil || len(images) != 1 {
			t.Errorf("images: %v %v", images, err)
		}
		sendOn(t, o, ref, sig[0])
	})
}

// sendOn pushes an image with two referrers to another registry, and loads it
// elsewhere with both.
func sendOn(t modetest.T, o *Store, ref string, sig Artifact) {
	t.Helper()
	there := serve(t, nil) + "/two:v1"
	if err := o.Tag(t.Context(), ref, there); err != nil {
		t.Fatal(err)
	}
	if done, err := o.Push(t.Context(), there, PushOptions{}); err != nil || len(done.Referrers) != 2 {
		t.Errorf("pushed on: %+v %v", done, err)
	}
	if found, err := RemoteReferrers(t.Context(), registry.New(registry.Options{}), there); err != nil || len(found) != 2 {
		t.Errorf("there: %+v %v", found, err)
	}
	l := otherStore(t)
	load(t, l, save(t, o, OCIArchive, there))
	if got := artifacts(t, l, sig.Subject, sig.Type); len(got) != 1 || got[0].Digest != sig.Digest {
		t.Errorf("loaded: %+v", got)
	}
}

// refer attaches an artifact of that many contents, as other programs do, to
// what a registry has.
func refer(t modetest.T, ref string, kind types.MediaType, contents int) {
	t.Helper()
	push(t, ref, func(r name.Reference) error {
		subject, err := remote.Head(r)
		if err != nil {
			return err
		}
		var layers [][]byte
		for i := range contents {
			layers = append(layers, tarOf(t, entry{name: string(kind), content: strings.Repeat("s", i+1)}))
		}
		img := mutate.ConfigMediaType(makeImage(t, ociKind, goruntime.GOARCH, layers...), kind)
		about, ok := mutate.Subject(img, *subject).(gcr.Image)
		if !ok {
			return errors.New("no image")
		}
		d, err := about.Digest()
		if err != nil {
			return err
		}
		return remote.Write(r.Context().Digest(d.String()), about)
	})
}

// Of an image for several platforms one can be saved and pushed alone.
func TestOnePlatformAlone(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		ref := host + "/multi:v1"
		mine, other := twoPlatforms(t, s)
		if _, err := s.PutIndex(t.Context(), []*Image{mine, other}, []string{ref}); err != nil {
			t.Fatal(err)
		}
		z, arm := &v1.Platform{OS: "linux", Architecture: "s390x"}, &v1.Platform{OS: "linux", Architecture: "arm64"}
		if done, err := s.Push(t.Context(), ref, PushOptions{Platform: z}); err != nil || done.Digest != other.Digest {
			t.Errorf("pushed %+v, %v", done, err)
		}
		if _, err := s.Push(t.Context(), ref, PushOptions{Platform: arm}); !errors.Is(err, ErrNotFound) {
			t.Errorf("pushed what is not here: %v", err)
		}
		for _, f := range []Format{DockerArchive, OCIArchive} {
			var out bytes.Buffer
			if err := s.Save(t.Context(), &out, []string{ref}, SaveOptions{Format: f, Platform: z, Referrers: true}); err != nil {
				t.Fatal(err)
			}
			o := otherStore(t)
			if got := load(t, o, out.Bytes()); len(got) != 1 || got[0].Digest != other.Digest || got[0].Names[0] != ref {
				t.Errorf("%s: %+v", f, got)
			}
		}
		for _, r := range []string{ref, "mine"} {
			if err := s.Save(t.Context(), io.Discard, []string{r}, SaveOptions{Format: OCIArchive, Platform: arm}); !errors.Is(err, ErrNotFound) {
				t.Errorf("saved what is not here: %v", err)
			}
		}
	})
}

// An import may be for another platform, have another configuration and no name.
func TestImportOptions(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		in := tarOf(t, entry{name: "f"})
		o := ImportOptions{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}, Change: func(c Config) (Config, error) {
			c.Config.User = "1000"
			return c, nil
		}}
		img, err := s.Import(t.Context(), bytes.NewReader(in), "", o)
		if err != nil || len(img.Names) != 0 || img.Platform().Architecture != "arm64" || img.Config.Config.User != "1000" {
			t.Errorf("%+v %v", img, err)
		}
		broken := errors.New("no such instruction")
		o.Change = func(c Config) (Config, error) { return c, broken }
		if _, err := s.Import(t.Context(), bytes.NewReader(in), "x", o); !errors.Is(err, broken) {
			t.Errorf("%v, want %v", err, broken)
		}
	})
}
