// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/filelock"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// noise is content that does not compress.
func noise(n int) string {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(data) //nolint:errcheck // never fails
	return string(data)
}

// cutOff passes requests on, but breaks the connection of the first few
// downloads of a large blob after some bytes.
type cutOff struct {
	left, ranges atomic.Int64
	noRange      bool
}

func (c *cutOff) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
		next.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, &http.Request{Method: r.Method, URL: r.URL, Header: http.Header{}, Host: r.Host})
	body, from := rec.Body.Bytes(), 0
	if header := r.Header.Get("Range"); header != "" && !c.noRange {
		c.ranges.Add(1)
		from, _ = strconv.Atoi(strings.Trim(header, "bytes=-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		w.Header().Set("Content-Length", strconv.Itoa(len(body)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	if rest := len(body) - from; rest > 100_000 && c.left.Add(-1) >= 0 {
		_, _ = w.Write(body[from : from+rest/3])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body[from:])
}

func TestPullResumes(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root, idmap.Single}, func(t modetest.T) {
		for _, noRange := range []bool{false, true} {
			for _, unpack := range []bool{false, true} {
				s := openStore(t, t.Mapping)
				c := &cutOff{noRange: noRange}
				host := serve(t, c.serve)
				img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: noise(1 << 20)}))
				push(t, host+"/x:v1", func(r name.Reference) error { return remote.Write(r, img) })
				c.left.Store(3)
				resumed := 0
				got, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Unpack: unpack, Progress: func(e Event) {
					if e.Action == "resume" {
						resumed++
					}
				}})
				if err != nil || resumed != 3 || (c.ranges.Load() == 3) == noRange {
					t.Fatalf("resumed %d times, %d ranges, %v", resumed, c.ranges.Load(), err)
				}
				if unpack != s.HaveLayer(got.Config.RootFS.DiffIDs[0]) {
					t.Errorf("unpacked: %v, want %v", !unpack, unpack)
				}
				data, err := os.ReadFile(filepath.Join(layersOf(t, s, got)[0].Dir, "f"))
				if err != nil || string(data) != noise(1<<20) {
					t.Errorf("another content, %v", err)
				}
			}
		}
	})
}

// A download that failed for good is taken up by the next pull.
func TestPullTakesUp(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		c := &cutOff{}
		down := atomic.Bool{}
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if down.Load() && r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			c.serve(w, r, next)
		})
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: noise(1 << 20)}))
		push(t, host+"/x:v1", func(r name.Reference) error { return remote.Write(r, img) })
		c.left.Store(1)
		down.Store(true)
		if _, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Unpack: true}); err == nil {
			t.Fatal("pulled")
		}
		down.Store(false)
		var first Event
		_, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Unpack: true, Progress: func(e Event) {
			if first.Digest == "" {
				first = e
			}
		}})
		if err != nil || first.Action != "resume" || first.Done < 300_000 {
			t.Errorf("began with %+v, %v", first, err)
		}
		if entries, err := os.ReadDir(s.path("partial")); err != nil || len(entries) != 0 {
			t.Errorf("left: %v %v", entries, err)
		}
	})
}

// A download that cannot be taken up, or whose first part is another thing, is
// begun anew by the same pull.
func TestPullBeginsAnew(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		for n, what := range []string{"416", "416 unpacking", "junk", "junk unpacking"} {
			c, large := &cutOff{}, atomic.Value{}
			large.Store("none yet")
			host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				ranged, blob := r.Header.Get("Range") != "", strings.HasSuffix(r.URL.Path, large.Load().(string)) //nolint:forcetypeassert // stored above
				switch {
				case ranged && strings.HasPrefix(what, "416"):
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				case blob && !ranged && strings.HasPrefix(what, "junk") && c.left.Add(-1) >= 0:
					w.Header().Set("Content-Length", "500000")
					_, _ = w.Write(bytes.Repeat([]byte("<html>"), 1000))
					panic(http.ErrAbortHandler)
				default:
					c.serve(w, r, next)
				}
			})
			img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: strconv.Itoa(n) + noise(1<<20)}))
			push(t, host+"/x:v1", func(r name.Reference) error { return remote.Write(r, img) })
			layers, err := img.Layers()
			if err != nil {
				t.Fatal(err)
			}
			d, err := layers[0].Digest()
			if err != nil {
				t.Fatal(err)
			}
			large.Store(d.String())
			c.left.Store(1)
			got, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Unpack: strings.HasSuffix(what, "unpacking")})
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			layersOf(t, s, got)
			if entries, err := os.ReadDir(s.path("partial")); err != nil || len(entries) != 0 {
				t.Errorf("%s: left: %v %v", what, entries, err)
			}
		}
	})
}

func TestPullWaitsForRateLimit(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		var refusals atomic.Int64
		after := atomic.Value{}
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet && refusals.Add(-1) >= 0 {
				w.Header().Set("Retry-After", after.Load().(string)) //nolint:forcetypeassert // stored below
				w.Header().Set("Ratelimit-Limit", "100;w=21600")
				w.Header().Set("Ratelimit-Remaining", "0;w=21600")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(w, r)
		})
		push(t, host+"/x:v1", func(r name.Reference) error {
			return remote.Write(r, makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f"})))
		})
		var said []string
		client := registry.New(registry.Options{Pause: time.Millisecond, Tell: func(s string) { said = append(said, s) }})
		refusals.Store(2)
		after.Store("1")
		began := time.Now()
		if _, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Client: client}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 2*time.Second || len(said) != 2 || !strings.Contains(said[0], "100 in 6h0m0s") {
			t.Errorf("took %v, said %q", took, said)
		}
		refusals.Store(100)
		after.Store("7200")
		_, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Client: client})
		if !errors.Is(err, ErrRateLimit) || !strings.Contains(err.Error(), "try again in 2h0m0s") {
			t.Errorf("%v, want the rate limit and when", err)
		}
		t.Log(err)
	})
}

// What fails for a moment is tried again; what is refused is not.
func TestPullTriesAgain(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		var mu sync.Mutex
		seen := map[string]int{}
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			mu.Lock()
			seen[r.Method+r.URL.Path]++
			n := seen[r.Method+r.URL.Path]
			mu.Unlock()
			switch {
			case r.Method == http.MethodGet && n == 1:
				w.WriteHeader(http.StatusBadGateway)
			case r.Method == http.MethodGet && n == 2:
				panic(http.ErrAbortHandler)
			default:
				next.ServeHTTP(w, r)
			}
		})
		push(t, host+"/x:v1", func(r name.Reference) error {
			return remote.Write(r, makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f"})))
		})
		client := registry.New(registry.Options{Pause: time.Millisecond})
		mu.Lock()
		clear(seen)
		mu.Unlock()
		if _, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Client: client}); err != nil {
			t.Error(err)
		}
	})
}

func TestPullFromMirror(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f"}))
		full, empty := serve(t, nil), serve(t, nil)
		push(t, full+"/hub/library/debian:x", func(r name.Reference) error { return remote.Write(r, img) })
		push(t, full+"/own:x", func(r name.Reference) error { return remote.Write(r, img) })
		closed := httptest.NewServer(nil)
		closed.Close()
		gone := strings.TrimPrefix(closed.URL, "http://")
		client := registry.New(registry.Options{Pause: time.Millisecond, Hosts: map[string]registry.Host{
			"docker.io": {Mirrors: []string{gone, empty, full + "/hub"}},
			full:        {Mirrors: []string{empty}},
		}})
		for _, ref := range []string{"debian:x", full + "/own:x"} {
			got, err := s.Pull(t.Context(), ref, PullOptions{Client: client})
			if err != nil {
				t.Fatal(err)
			}
			if find(t, s, ref).Digest != got.Digest {
				t.Errorf("%s: named otherwise", ref)
			}
		}
	})
}

func TestPushAndMount(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		var mounted, uploads atomic.Int64
		host := serve(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/two/blobs/") {
				w.WriteHeader(http.StatusNotFound) // its repositories share all blobs
				return
			}
			if r.Method == http.MethodPost {
				uploads.Add(1)
				if r.URL.Query().Get("mount") != "" {
					mounted.Add(1)
				}
			}
			next.ServeHTTP(w, r)
		})
		img := importTar(t, s, host+"/one:v1", entry{name: "f", content: noise(100_000)})
		attach(t, s, img.Digest, "about it")
		done, err := s.Push(t.Context(), host+"/one:v1", PushOptions{})
		if err != nil || done.Digest != img.Digest || len(done.Referrers) != 1 {
			t.Fatalf("pushed %+v, %v", done, err)
		}
		client := registry.New(registry.Options{})
		found, err := RemoteReferrers(t.Context(), client, host+"/one:v1")
		if err != nil || len(found) != 1 || found[0].ArtifactType != testArtifact {
			t.Errorf("referrers: %+v %v", found, err)
		}
		before := uploads.Load()
		if _, err := s.Push(t.Context(), host+"/one:v1", PushOptions{}); err != nil || uploads.Load() != before {
			t.Errorf("pushed again: %d uploads, %v", uploads.Load()-before, err)
		}
		if err := s.Tag(t.Context(), host+"/one:v1", host+"/two:v2"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Push(t.Context(), host+"/two:v2", PushOptions{}); err != nil || mounted.Load() == 0 {
			t.Errorf("%d layers were mounted, %v", mounted.Load(), err)
		}
		if tags, err := RemoteTags(t.Context(), client, host+"/two"); err != nil || !slices.Contains(tags, "v2") {
			t.Errorf("tags %v, %v", tags, err)
		}
		o := otherStore(t)
		if got, err := o.Pull(t.Context(), host+"/two@"+img.Digest.String(), PullOptions{}); err != nil || got.ConfigDigest != img.ConfigDigest {
			t.Errorf("pulled by digest: %v %v", got, err)
		}
		mustWrite(t, s.blobPath(img.Manifest.Layers[0].Digest), "spoilt")
		if _, err := s.Push(t.Context(), host+"/one:v1", PushOptions{}); err != nil {
			t.Log("of a spoilt layer that the registry has:", err)
		}
		other := serve(t, nil)
		if err := s.Tag(t.Context(), host+"/one:v1", other+"/x:v1"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Push(t.Context(), other+"/x:v1", PushOptions{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a spoilt layer: %v, want ErrCorrupt", err)
		}
	})
}

// twoPlatforms makes an image for the host, and one of the same files for another
// architecture.
func twoPlatforms(t modetest.T, s *Store) (mine, other *Image) {
	t.Helper()
	mine = importTar(t, s, "mine", entry{name: "f", content: "x"})
	cfg := mine.Config
	cfg.Architecture = "s390x"
	other, err := s.PutImage(t.Context(), cfg, mine.LayerDescriptors(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return mine, other
}

func TestPushIndex(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		mine, other := twoPlatforms(t, s)
		idx, err := s.PutIndex(t.Context(), []*Image{mine, other}, []string{host + "/multi:v1"})
		if err != nil {
			t.Fatal(err)
		}
		if done, err := s.Push(t.Context(), host+"/multi:v1", PushOptions{}); err != nil || done.Digest != idx {
			t.Fatalf("pushed %+v, %v; want %s", done, err, idx)
		}
		for arch, want := range map[string]*Image{goruntime.GOARCH: mine, "s390x": other} {
			o := otherStore(t)
			got, err := o.Pull(t.Context(), host+"/multi:v1", PullOptions{Platform: &v1.Platform{OS: "linux", Architecture: arch}})
			if err != nil || got.Digest != want.Digest {
				t.Errorf("for %s: %v %v", arch, got, err)
			}
		}
		o := otherStore(t)
		_, err = o.Pull(t.Context(), host+"/multi:v1", PullOptions{Platform: &v1.Platform{OS: "linux", Architecture: "riscv64"}})
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "linux/riscv64") {
			t.Errorf("for riscv64: %v", err)
		}
	})
}

// A layer that is not what it should be fails while it comes, and nothing stays.
func TestPullHostileLayers(t *testing.T) {
	single(t, func(t modetest.T, _ *Store) {
		host := serve(t, nil)
		bomb := make([]byte, 3<<20)
		for what, c := range map[string]struct {
			layer []byte
			says  string
		}{
			"outside":   {tarOf(t, entry{name: "../x"}), `".."`},
			"not a tar": {bytes.Repeat([]byte("x"), 2000), "read layer"},
			"too large": {tarOf(t, entry{name: "f", content: string(bomb)}), "larger than the limit"},
		} {
			o := reopened(t, otherStore(t), func(o *Options) { o.Limits.Bytes = 2 << 20 })
			ref := host + "/" + strings.ReplaceAll(what, " ", "-") + ":v1"
			push(t, ref, func(r name.Reference) error {
				return remote.Write(r, makeImage(t, ociKind, goruntime.GOARCH, c.layer))
			})
			_, err := o.Pull(t.Context(), ref, PullOptions{Unpack: true})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", what, err, c.says)
			}
			if imgs, err := o.Images(t.Context()); err != nil || len(imgs) != 0 {
				t.Errorf("%s: %v %v", what, imgs, err)
			}
			if left := files(t, o); len(left) != 0 {
				t.Errorf("%s: left %v", what, left)
			}
		}
	})
}

// On a full disk a pull fails with the reason, and what it had is given back.
func TestPullOntoFullDisk(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		ref := serve(t, nil) + "/big:v1"
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "f", content: noise(3 << 20)}))
		push(t, ref, func(r name.Reference) error { return remote.Write(r, img) })
		// Room for nothing; for the blob but not the layer.
		for _, size := range []string{"1m", "4m"} {
			if err := unix.Mount("tmpfs", s.Options().Dir, "tmpfs", 0, "mode=700,size="+size); err != nil {
				t.Fatal(err)
			}
			small, err := Open(s.Options())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := small.Pull(t.Context(), ref, PullOptions{Unpack: true}); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%s: %v, want ENOSPC", size, err)
			}
			partial, err := os.ReadDir(small.path("partial"))
			if left := files(t, small); err != nil || len(left) != 0 || len(partial) != 0 {
				t.Errorf("%s: left: %v %v %v", size, left, partial, err)
			}
			if err := unix.Unmount(s.Options().Dir, 0); err != nil {
				t.Error(err)
			}
		}
	})
}

// Several that pull, remove and list at the same time do not disturb each
// other, whether they are processes or not: each has a Store of its own.
func TestPullConcurrently(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		shared := tarOf(t, entry{name: "shared", content: noise(200_000)})
		for i := range 3 {
			img := makeImage(t, ociKind, goruntime.GOARCH, shared, tarOf(t, entry{name: "own", content: strconv.Itoa(i)}))
			push(t, host+"/x"+strconv.Itoa(i)+":v1", func(r name.Reference) error { return remote.Write(r, img) })
		}
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				ref := host + "/x" + strconv.Itoa(i%3) + ":v1"
				o, err := Open(s.Options())
				if err != nil {
					t.Error(err)
					return
				}
				for range 4 {
					img, err := o.Pull(t.Context(), ref, PullOptions{Unpack: true})
					if err == nil {
						_, err = o.Layers(t.Context(), img)
					}
					// Another one may have removed it since.
					if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
						t.Errorf("%s: %v", ref, err)
					}
					if _, err := o.Remove(t.Context(), ref); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := s.Collect(t.Context()); err != nil {
			t.Error(err)
		}
		if found, err := s.Check(t.Context(), false); err != nil || len(found) != 0 {
			t.Errorf("check: %+v %v", found, err)
		}
		if left := files(t, s); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// Two pulls of the same layers must not wait for each other: one that waits for
// a layer holds none that comes after it in the order of digests.
func TestPullWaitsInOrder(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := serve(t, nil)
		img := makeImage(t, ociKind, goruntime.GOARCH, tarOf(t, entry{name: "a", content: "a"}), tarOf(t, entry{name: "b", content: "b"}))
		push(t, host+"/x:v1", func(r name.Reference) error { return remote.Write(r, img) })
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		digests := []string{m.Layers[0].Digest.Hex, m.Layers[1].Digest.Hex}
		slices.Sort(digests)
		lockOf := func(d string) string { return s.path("locks", "partial-"+d) }
		first, err := filelock.Try(lockOf(digests[0]), filelock.Exclusive)
		if err != nil {
			t.Fatal(err)
		}
		pulled := make(chan error, 1)
		go func() {
			_, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{})
			pulled <- err
		}()
		time.Sleep(500 * time.Millisecond)
		second, err := filelock.Try(lockOf(digests[1]), filelock.Exclusive)
		if err != nil {
			t.Fatalf("the other layer's lock, while the first is waited for: %v", err)
		}
		if err := errors.Join(second.Remove(), first.Remove()); err != nil {
			t.Fatal(err)
		}
		if err := <-pulled; err != nil {
			t.Fatal(err)
		}
	})
}
