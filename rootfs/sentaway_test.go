// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// A registry on this machine may have its storage and its token server there;
// none may send one to where clouds keep credentials.
func TestRegistrySendsOn(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		var base atomic.Value // where it sends one on
		var part atomic.Value // which requests
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			what, _ := part.Load().(string)
			switch {
			case what == "realm" && strings.HasPrefix(r.URL.Path, "/v2/") && r.Header.Get("Authorization") == "":
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+base.Load().(string)+`/token",service="x"`) //nolint:forcetypeassert // stored below
				w.WriteHeader(http.StatusUnauthorized)
			case what != "" && strings.Contains(r.URL.Path, what) && (r.Method == http.MethodGet || what == "/uploads/"):
				http.Redirect(w, r, base.Load().(string)+r.URL.Path, http.StatusTemporaryRedirect) //nolint:forcetypeassert // stored below
			default:
				next.ServeHTTP(w, r)
			}
		})
		storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				_, _ = io.WriteString(w, `{"token":"t"}`)
				return
			}
			req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+host+r.URL.Path, r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			part.Store("")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			maps.Copy(w.Header(), resp.Header)
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
		}))
		t.Cleanup(storage.Close)
		push(t, host+"/x:v1", func(r name.Reference) error {
			return remote.Write(r, makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f"})))
		})
		for _, what := range []string{"realm", "/manifests/", "/blobs/"} {
			for to, allowed := range map[string]bool{storage.URL: true, "https://169.254.169.254": false, "https://[64:ff9b::a9fe:a9fe]": false} {
				base.Store(to)
				part.Store(what)
				_, err := otherStore(t).Pull(t.Context(), host+"/x:v1", PullOptions{})
				if allowed && err != nil || !allowed && !errors.Is(err, ErrSentAway) {
					t.Errorf("%s to %s: %v", what, to, err)
				}
			}
		}
		img := importTar(t, s, host+"/y:v1", entry{name: "g"})
		for _, what := range []string{"realm", "/uploads/"} {
			base.Store("https://169.254.169.254")
			part.Store(what)
			if _, err := s.Push(t.Context(), host+"/y:v1", PushOptions{}); !errors.Is(err, ErrSentAway) {
				t.Errorf("push, %s: %v", what, err)
			}
		}
		part.Store("")
		if done, err := s.Push(t.Context(), host+"/y:v1", PushOptions{}); err != nil || done.Digest != img.Digest {
			t.Errorf("pushed %+v, %v", done, err)
		}
	})
}
