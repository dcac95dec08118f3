// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Event is one step of progress of a Pull.
type Event struct {
	Action string        // "resolve", "download", "exists" or "done"
	Digest digest.Digest // of the blob concerned; empty for "resolve"
	Done   int64         // bytes so far
	Total  int64         // bytes in all
}

// PullOptions are the options of Pull.
type PullOptions struct {
	// Progress, if set, is called by one goroutine at a time.
	Progress func(Event)
	// Insecure lists registries (host or host:port) that may be spoken to
	// over plain HTTP, or with a certificate that cannot be verified.
	Insecure []string
}

// Pull fetches the image for this machine's architecture from a registry, with
// the credentials that docker keeps, or none. Layers are stored as they come;
// Layers unpacks them. The error is ErrNotFound if the registry knows no such
// image, ErrUnreachable if no registry answered.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (_ *Image, err error) {
	canonical, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	gc, err := s.lockGC(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, gc.Close()) }()
	p := &puller{s: s, progress: o.Progress}
	d, err := p.pull(ctx, canonical, o.Insecure)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, explainRemote(err))
	}
	return s.name(ctx, d, []string{canonical})
}

type puller struct {
	s        *Store
	mu       sync.Mutex
	progress func(Event)
}

func (p *puller) tell(e Event) {
	if p.progress == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress(e)
}

func (p *puller) pull(ctx context.Context, canonical string, insecure []string) (v1.Descriptor, error) {
	p.tell(Event{Action: "resolve"})
	ref, err := name.ParseReference(canonical)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if slices.Contains(insecure, ref.Context().RegistryStr()) {
		if ref, err = name.ParseReference(canonical, name.Insecure); err != nil {
			return v1.Descriptor{}, err
		}
	}
	platform := gcr.Platform{OS: "linux", Architecture: goruntime.GOARCH}
	desc, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithPlatform(platform))
	if err != nil {
		return v1.Descriptor{}, err
	}
	img, err := desc.Image()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return p.store(ctx, img, digest.Digest(desc.Digest.String()))
}

// store stores the blobs of an image and then its manifest.
func (p *puller) store(ctx context.Context, img gcr.Image, origin digest.Digest) (v1.Descriptor, error) {
	raw, err := img.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return v1.Descriptor{}, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := parseConfig(config, len(m.Layers)); err != nil {
		return v1.Descriptor{}, fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	layers, err := img.Layers()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := p.fetchAll(ctx, m.Layers, layers); err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := p.s.putDocument(ctx, config, m.Config.MediaType); err != nil {
		return v1.Descriptor{}, err
	}
	mediaType, err := img.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := p.s.putDocument(ctx, raw, string(mediaType))
	if err == nil && origin != d.Digest {
		d.Annotations = map[string]string{annotationOrigin: origin.String()}
	}
	return d, err
}

func (p *puller) fetchAll(ctx context.Context, descs []v1.Descriptor, layers []gcr.Layer) error {
	const atOnce = 3
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	seen := make(map[digest.Digest]bool)
	for i, d := range descs {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		g.Go(func() error {
			if err := p.fetch(ctx, d, layers[i]); err != nil {
				return fmt.Errorf("layer %s: %w", d.Digest, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *puller) fetch(ctx context.Context, d v1.Descriptor, l gcr.Layer) (err error) {
	if p.s.haveBlob(d) {
		p.tell(Event{Action: "exists", Digest: d.Digest, Done: d.Size, Total: d.Size})
		return nil
	}
	w, err := p.s.newWorkspace(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	in, err := l.Compressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	b, err := w.newBlob("blob")
	if err != nil {
		return err
	}
	// One byte more than there should be shows that there are too many.
	from := io.LimitReader(&meter{r: in, p: p, desc: d}, d.Size+1)
	// Of a wrong digest the client's reader complains as well, in its own terms.
	if _, err := io.Copy(b, from); err != nil && b.size < d.Size {
		return errors.Join(err, b.f.Close())
	}
	if got := b.digest(); got != d.Digest || b.size != d.Size {
		why := fmt.Sprintf("got %d bytes with the digest %s", b.size, got)
		return errors.Join(&CorruptError{Digest: d.Digest, Why: why}, b.f.Close())
	}
	if _, err := b.commit(p.s); err != nil {
		return err
	}
	p.tell(Event{Action: "done", Digest: d.Digest, Done: d.Size, Total: d.Size})
	return nil
}

// meter tells how much of a blob has come.
type meter struct {
	r    io.Reader
	p    *puller
	desc v1.Descriptor
	n    int64
	last time.Time
}

func (m *meter) Read(p []byte) (int, error) {
	const often = 100 * time.Millisecond
	n, err := m.r.Read(p)
	m.n += int64(n)
	if time.Since(m.last) >= often {
		m.last = time.Now()
		m.p.tell(Event{Action: "download", Digest: m.desc.Digest, Done: m.n, Total: m.desc.Size})
	}
	return n, err
}
