// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// lateRegistry lets everybody ask /v2/, and wants a token for all else. Anybody may
// read public/; the user me with the password pass may do everything.
func lateRegistry(t *testing.T) string {
	t.Helper()
	images := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, named := r.BasicAuth()
		repo := repositoryOf(r.URL.Path)
		scope := "repository:" + repo + ":pull"
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			scope += ",push"
		}
		switch {
		case r.URL.Path == "/token":
			want := strings.Join(r.URL.Query()["scope"], " ")
			if named != (user == "me" && password == "pass") || !named && (!strings.HasPrefix(want, "repository:public/") || strings.Contains(want, "push")) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = fmt.Fprintf(w, `{"token": %q}`, want)
		case r.URL.Path == apiRoot, strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && strings.Contains(r.Header.Get("Authorization"), scope):
			images.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="%s"`, srv.URL, scope))
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// user is a keychain that knows who one is everywhere.
type user struct{ authn.AuthConfig }

func (u user) Resolve(authn.Resource) (authn.Authenticator, error) {
	if u.Username == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(u.AuthConfig), nil
}

// TestLateToken pushes and pulls where only what is asked for an image is refused
// without a token.
func TestLateToken(t *testing.T) {
	host := lateRegistry(t)
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	nobody, me := user{}, user{authn.AuthConfig{Username: "me", Password: "pass"}}
	try := func(who user, image string, do func(name.Reference, ...remote.Option) error) error {
		c := New(Options{Keychain: who, Pause: 1})
		ref, err := c.Parse(host + "/" + image)
		if err != nil {
			t.Fatal(err)
		}
		options, err := c.Options(t.Context(), ref.Context().Registry)
		if err != nil {
			t.Fatal(err)
		}
		return do(ref, options...)
	}
	push := func(ref name.Reference, o ...remote.Option) error { return remote.Write(ref, img, o...) }
	pull := func(ref name.Reference, o ...remote.Option) error {
		got, err := remote.Image(ref, o...)
		if err != nil {
			return err
		}
		if digest, err := got.Digest(); err != nil || digest != want {
			t.Errorf("%s: %v, %v", ref, digest, err)
		}
		layers, err := got.Layers()
		for _, l := range layers {
			var r io.ReadCloser
			if r, err = l.Compressed(); err != nil {
				break
			}
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		return err
	}
	for _, c := range []struct {
		who   user
		image string
		do    func(name.Reference, ...remote.Option) error
		fails bool
	}{
		{nobody, "public/a:1", push, true},
		{me, "public/a:1", push, false},
		{me, "team/b:1", push, false},
		{nobody, "public/a:1", pull, false},
		{me, "team/b:1", pull, false},
		{nobody, "team/b:1", pull, true},
		{user{authn.AuthConfig{Username: "me", Password: "wrong"}}, "team/b:1", pull, true},
	} {
		if err := try(c.who, c.image, c.do); (err != nil) != c.fails || err != nil && !strings.Contains(err.Error(), "401") {
			t.Errorf("%q, %s: %v; fails: %v", c.who.Username, c.image, err, c.fails)
		}
	}
}

func TestRepositoryOf(t *testing.T) {
	for path, want := range map[string]string{
		"/v2/": "", "/v2/_catalog": "", "/token": "", "/v2/a/manifests/1": "a", "/v2/a/b/blobs/uploads/1": "a/b",
		"/v2/a/tags/list": "a", "/v2/tags/tags/list": "tags", "/v2/manifests/manifests/1": "manifests", "/v2/a/referrers/sha256:1": "a",
	} {
		if got := repositoryOf(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
