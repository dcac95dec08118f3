// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// A step is one kind of request that a pull or a push makes.
type requestKind struct {
	name, method, path string // path: a part of it
}

func (k requestKind) is(r *http.Request) bool {
	return r.Method == k.method && strings.Contains(r.URL.Path, k.path) && (k.path != apiRoot || r.URL.Path == apiRoot)
}

// A fault is what a broken or hostile registry makes of a request. Next is what an
// honest one would do.
type fault struct {
	name string
	does func(w http.ResponseWriter, r *http.Request, next http.Handler)
	// says is in the error, if there is one; empty where several causes are true.
	says string
	// stalls: the registry does not go on, and the client's patience is short.
	stalls bool
}

// honest is the answer of an honest registry.
func honest(r *http.Request, next http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	next.ServeHTTP(rec, r)
	return rec
}

// answerOf sends an honest answer with another body.
func answerOf(w http.ResponseWriter, rec *httptest.ResponseRecorder, body []byte) {
	maps.Copy(w.Header(), rec.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body)
}

// part sends a part of an answer, of which more is announced.
func part(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := honest(r, next)
	maps.Copy(w.Header(), rec.Header())
	w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()+1))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
	_ = http.NewResponseController(w).Flush()
}

// hang waits until the client has gone, or the test is over: a server does not
// always see the first.
func hang(r *http.Request, over <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-over:
	}
}

func status(code int, headers ...string) fault {
	return fault{name: strings.TrimSpace(strconv.Itoa(code) + " " + strings.Join(headers, " ")), says: strconv.Itoa(code), does: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}}
}

// changed is a fault that sends another body than it should.
func changed(name string, change func([]byte) []byte) fault {
	return fault{name: name, does: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := honest(r, next)
		answerOf(w, rec, change(slices.Clone(rec.Body.Bytes())))
	}}
}

func faults(over <-chan struct{}) []fault {
	limited := status(http.StatusTooManyRequests, "Retry-After", "3600")
	limited.says = "try again in 1h0m0s"
	soon := status(http.StatusTooManyRequests, "Retry-After", "0")
	soon.says = "rate limit"
	elsewhere := status(401, "Www-Authenticate", `Bearer realm="http://127.0.0.1:1/token"`)
	elsewhere.says = ""
	return []fault{
		{name: "no answer", does: func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }},
		{name: "cut off", does: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			part(w, r, next)
			panic(http.ErrAbortHandler)
		}},
		{name: "stalls before", stalls: true, does: func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { hang(r, over) }},
		{name: "stalls within", stalls: true, does: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			part(w, r, next)
			hang(r, over)
		}},
		changed("too short", func(b []byte) []byte { return b[:len(b)/2] }),
		changed("too long", func(b []byte) []byte { return append(b, "more"...) }),
		changed("another byte", func(b []byte) []byte {
			if len(b) > 0 {
				b[len(b)/2] ^= 1
			}
			return b
		}),
		changed("empty", func([]byte) []byte { return nil }),
		{name: "another digest", does: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := honest(r, next)
			rec.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("ab", 32))
			answerOf(w, rec, rec.Body.Bytes())
		}},
		{name: "a page", does: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "text/html\t")
			_, _ = w.Write([]byte("<html>log in to the network</html>"))
		}},
		{name: "without end", does: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			junk, most := bytes.Repeat([]byte("{} \x1b[31m"), 8<<10), 1000
			if r.Method == http.MethodHead { // which has no body: nobody would go away over it
				most = 1
			}
			for range most {
				if _, err := w.Write(junk); err != nil {
					return
				}
			}
		}},
		{name: "words", says: "400", does: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte("\x1b[31mred\n" + strings.Repeat("y", 100_000)))
		}},
		{name: "to itself", says: "again and again", does: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		}},
		{name: "on and on", says: "again and again", does: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, r.URL.Path+"?n=x"+r.URL.Query().Get("n"), http.StatusTemporaryRedirect)
		}},
		{name: "to nowhere", does: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}},
		status(401), elsewhere, status(403), status(404), status(416), status(418),
		soon, limited, status(500), status(502), status(503), status(503, "Retry-After", "86400"),
	}
}

// faulty is a registry with one fault, until it is mended.
type faulty struct {
	kind   requestKind
	fault  fault
	mended atomic.Bool
	seen   atomic.Int64
	next   http.Handler
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.mended.Load() || !f.kind.is(r) {
		f.next.ServeHTTP(w, r)
		return
	}
	f.seen.Add(1)
	f.fault.does(w, r, f.next)
}

// start serves the registry and returns its host and a client with little patience.
func (f *faulty) start(tb testing.TB) (host string, hasty *registry.Client) {
	tb.Helper()
	srv := httptest.NewServer(f)
	tb.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	o := registry.Options{Pause: time.Millisecond, Keychain: registry.NewKeychain(nil)}
	if f.fault.stalls {
		o.Stall = 150 * time.Millisecond
	}
	return strings.TrimPrefix(srv.URL, "http://"), registry.New(o)
}

// faultBound is how long a command may take over any fault. It is for busy machines;
// a registry that is waited for has a shorter one.
const faultBound = time.Minute

// check holds the error of a command against a fault: that it came in time, is true,
// and can be shown.
func (f *faulty) check(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("it did not end in %v: %w", faultBound, err)
	}
	if err == nil {
		return nil
	}
	said := err.Error()
	switch {
	case len(said) > 1500 || strings.ContainsFunc(said, unicode.IsControl):
		return fmt.Errorf("an error of %d characters: %q", len(said), said[:min(len(said), 300)])
	case errors.Is(err, ErrUntrusted):
		return fmt.Errorf("it is no matter of trust: %w", err)
	case errors.Is(err, ErrNotFound) && f.kind.name != "the list" && f.kind.name != "greeting":
		return fmt.Errorf("the image is there: %w", err)
	case f.fault.says != "" && !strings.Contains(said, f.fault.says):
		return fmt.Errorf("%w, want %q", err, f.fault.says)
	}
	return nil
}

func quietRegistry() http.Handler {
	return memory.New(memory.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
}

// eachFault runs try for every fault at every kind of request, several together.
func eachFault(t modetest.T, kinds []requestKind, try func(kind requestKind, f fault) error) {
	t.Helper()
	over := make(chan struct{})
	defer close(over)
	var g errgroup.Group
	g.SetLimit(8)
	for _, kind := range kinds {
		for _, f := range faults(over) {
			g.Go(func() error {
				if err := try(kind, f); err != nil {
					t.Errorf("%s: %s: %v", kind.name, f.name, err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // what failed is said
}

// Whatever a registry does at whichever request of a pull, the pull ends, says
// what is true, and the next one has the image; nothing else is in the store then.
func TestPullOverFaults(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		all := quietRegistry()
		first := &faulty{next: all}
		first.mended.Store(true)
		host, _ := first.start(t)
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: noise(50_000)}))
		list := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img, Descriptor: gcr.Descriptor{Platform: &gcr.Platform{OS: "linux", Architecture: goruntime.GOARCH}}})
		push(t, host+"/x:v1", func(r name.Reference) error { return remote.WriteIndex(r, list) })
		want, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		layer, err := layers[0].Digest()
		if err != nil {
			t.Fatal(err)
		}
		kinds := []requestKind{
			{"greeting", http.MethodGet, apiRoot},
			{"the list", http.MethodGet, "/manifests/v1"},
			{"the manifest", http.MethodGet, "/manifests/sha256:"},
			{"the configuration", http.MethodGet, "/blobs/" + config.String()},
			{"the layer", http.MethodGet, "/blobs/" + layer.String()},
		}
		eachFault(t, kinds, func(kind requestKind, fault fault) error {
			f := &faulty{kind: kind, fault: fault, next: all}
			host, hasty := f.start(t)
			s := otherStore(t)
			ctx, cancel := context.WithTimeout(t.Context(), faultBound)
			defer cancel()
			_, err := s.Pull(ctx, host+"/x:v1", PullOptions{Client: hasty, Unpack: true})
			if err := f.check(ctx, err); err != nil {
				return err
			}
			if f.seen.Load() == 0 {
				return errors.New("no such request")
			}
			f.mended.Store(true)
			got, err := s.Pull(ctx, host+"/x:v1", PullOptions{Unpack: true})
			if err != nil || got.Digest.String() != want.String() {
				return fmt.Errorf("afterwards: %v: %w", got, err)
			}
			return wholeStore(ctx, s)
		})
	})
}

// wholeStore returns an error for what is wrong with a store, or lies about in it.
func wholeStore(ctx context.Context, s *Store) error {
	found, err := s.Check(ctx, false)
	if err != nil || len(found) > 0 {
		return fmt.Errorf("the store has %+v: %w", found, err)
	}
	return nil
}

// Whatever a registry does at whichever request of a push, the push ends, says
// what is true, and the next one brings the image there.
func TestPushOverFaults(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		kinds := []requestKind{
			{"greeting", http.MethodGet, apiRoot},
			{"is it there", http.MethodHead, "/blobs/"},
			{"begin to send", http.MethodPost, "/uploads/"},
			{"send", http.MethodPatch, "/uploads/"},
			{"end sending", http.MethodPut, "/uploads/"},
			{"send the manifest", http.MethodPut, "/manifests/"},
		}
		eachFault(t, kinds, func(kind requestKind, fault fault) error {
			f := &faulty{kind: kind, fault: fault, next: quietRegistry()}
			host, hasty := f.start(t)
			s := otherStore(t)
			img := importTar(t, s, host+"/x:v1", entry{name: "f", content: noise(50_000)})
			ctx, cancel := context.WithTimeout(t.Context(), faultBound)
			defer cancel()
			_, err := s.Push(ctx, host+"/x:v1", PushOptions{Client: hasty})
			if err := f.check(ctx, err); err != nil {
				return err
			}
			if f.seen.Load() == 0 {
				return errors.New("no such request")
			}
			f.mended.Store(true)
			if _, err := s.Push(ctx, host+"/x:v1", PushOptions{}); err != nil {
				return fmt.Errorf("afterwards: %w", err)
			}
			if kind.method == http.MethodHead && fault.says == "" {
				return wholeStore(ctx, s) // a lie about what is there; this registry takes manifests without blobs
			}
			if cfg, err := RemoteConfig(ctx, host+"/x:v1", PullOptions{}); err != nil || !slices.Equal(cfg.RootFS.DiffIDs, img.Config.RootFS.DiffIDs) {
				return fmt.Errorf("in the registry then: %w", err)
			}
			return wholeStore(ctx, s)
		})
	})
}
