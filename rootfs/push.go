// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// PushOptions are the options of Push.
type PushOptions struct {
	// Progress, if set, is called by one goroutine at a time.
	Progress func(Event)
	// Client reaches the registry; one with docker's credentials if nil.
	Client *registry.Client
	// NoReferrers leaves out what is kept about the image.
	NoReferrers bool
	// Image, if set, is the digest of what is sent, in place of what the name
	// stands for in the store.
	Image digest.Digest
	// Platform is the one to send of an image for several; all if nil.
	Platform *v1.Platform
}

// Pushed is what Push has sent.
type Pushed struct {
	// Digest is the registry's for the name.
	Digest digest.Digest
	Size   int64 // of the manifest
	// Referrers are the digests of what was sent along.
	Referrers []digest.Digest
}

// Push sends the image of a name to the registry in that name: all platforms
// of one for several, and what is kept about them. Blobs that the registry has
// are not sent; those that another of its repositories has are mounted.
func (s *Store) Push(ctx context.Context, ref string, o PushOptions) (_ Pushed, err error) {
	canonical, err := parseTag(ref)
	if err != nil {
		return Pushed{}, err
	}
	release, err := s.Hold()
	if err != nil {
		return Pushed{}, err
	}
	defer release()
	idx, err := s.Index()
	if err != nil {
		return Pushed{}, err
	}
	d, err := toPush(idx, canonical, o.Image)
	if err != nil {
		return Pushed{}, err
	}
	if o.Client == nil {
		o.Client = registry.New(registry.Options{})
	}
	to, err := o.Client.Parse(canonical)
	if err != nil {
		return Pushed{}, err
	}
	p := &pusher{s: s, o: o, idx: idx, to: to}
	if p.remote, err = o.Client.Options(ctx, to.Context().Registry); err != nil {
		return Pushed{}, err
	}
	out, err := p.push(d)
	if err != nil {
		return Pushed{}, fmt.Errorf("push %s: %w", ref, explainPush(err))
	}
	return out, nil
}

// toPush returns the entry to send to a name.
func toPush(idx *v1.Index, name string, image digest.Digest) (v1.Descriptor, error) {
	if image == "" {
		if d, ok := byName(idx, name); ok {
			return d, nil
		}
		return v1.Descriptor{}, fmt.Errorf("push: %w: %s", ErrNotFound, name)
	}
	at := slices.IndexFunc(idx.Manifests, func(m v1.Descriptor) bool { return m.Digest == image && store.IsImage(m) })
	if at < 0 {
		return v1.Descriptor{}, fmt.Errorf("push: %w: %s", ErrNotFound, image)
	}
	return idx.Manifests[at], nil
}

// explainPush is ExplainRemote for writing, where nothing can be missing.
func explainPush(err error) error {
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		switch answer.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
			if answer.StatusCode != http.StatusNotFound || answer.Request == nil || answer.Request.URL.Path != apiRoot {
				return answerError{fmt.Errorf("%w: %w", ErrPushDenied, err)}
			}
		}
	}
	return ExplainRemote(err)
}

// ErrPushDenied is the error where one may not write, or to a place that does
// not exist.
var ErrPushDenied = hint.New("the registry does not let you push there",
	"Log in with: cpc login SERVER, as a user who may push there. In some registries the repository must exist first.")

type pusher struct {
	s      *Store
	o      PushOptions
	idx    *v1.Index
	to     name.Reference
	remote []remote.Option
	mu     sync.Mutex // progress is called one at a time
}

func (p *pusher) tell(e Event) {
	if p.o.Progress == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.o.Progress(e)
}

func (p *pusher) push(d v1.Descriptor) (Pushed, error) {
	d, members, err := wanted(p.s, d, p.o.Platform)
	if err != nil {
		return Pushed{}, err
	}
	out := Pushed{Digest: d.Digest, Size: d.Size}
	for _, m := range members {
		ref := p.to
		if store.IsIndex(d) {
			ref = p.to.Context().Digest(m.Digest.String())
		}
		if err := p.image(ref, m); err != nil {
			return out, err
		}
	}
	if store.IsIndex(d) {
		if out.Digest, out.Size, err = p.index(d, members); err != nil {
			return out, err
		}
	}
	if p.o.NoReferrers {
		return out, nil
	}
	for _, m := range append(members, d) {
		sent, err := p.referrers(m.Digest)
		out.Referrers = append(out.Referrers, sent...)
		if err != nil {
			return out, err
		}
		if !store.IsIndex(d) {
			break
		}
	}
	return out, nil
}

// image sends one image.
func (p *pusher) image(ref name.Reference, d v1.Descriptor) error {
	img, err := p.remoteImage(d)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, p.remote...)
}

func (p *pusher) remoteImage(d v1.Descriptor) (gcr.Image, error) {
	raw, err := store.ReadDocument(p.s, d)
	if err != nil {
		return nil, err
	}
	m, err := store.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	mediaType := d.MediaType
	if mediaType == "" {
		mediaType = v1.MediaTypeImageManifest
	}
	core := &storedImage{p: p, raw: raw, mediaType: types.MediaType(mediaType), manifest: m}
	img, err := partial.CompressedToImage(core)
	if err != nil {
		return nil, err
	}
	return mountable{Image: img, p: p}, nil
}

// index sends the list of platforms; a new one if some are not here.
func (p *pusher) index(d v1.Descriptor, members []v1.Descriptor) (digest.Digest, int64, error) {
	raw, err := store.ReadDocument(p.s, d)
	if err != nil {
		return "", 0, err
	}
	whole, err := store.ParseIndex(raw)
	if err != nil {
		return "", 0, err
	}
	mediaType := types.MediaType(d.MediaType)
	if !sameDigests(whole.Manifests, members) {
		idx := store.NewIndex()
		idx.Manifests = members
		part := &saved{s: p.s, data: make(map[digest.Digest][]byte)}
		made, err := part.document(idx, v1.MediaTypeImageIndex)
		if err != nil {
			return "", 0, err
		}
		raw, mediaType = part.data[made.Digest], types.OCIImageIndex
	}
	return digest.FromBytes(raw), int64(len(raw)), remote.Put(p.to, rawManifest{raw, mediaType}, p.remote...)
}

type rawManifest struct {
	raw       []byte
	mediaType types.MediaType
}

func (r rawManifest) RawManifest() ([]byte, error)        { return r.raw, nil }
func (r rawManifest) MediaType() (types.MediaType, error) { return r.mediaType, nil }

// referrers sends what is kept about an image.
func (p *pusher) referrers(subject digest.Digest) ([]digest.Digest, error) {
	var sent []digest.Digest
	for _, m := range p.idx.Manifests {
		if !store.IsAbout(p.s, m, subject) {
			continue
		}
		if err := p.image(p.to.Context().Digest(m.Digest.String()), m); err != nil {
			return sent, fmt.Errorf("referrer %s: %w", m.ArtifactType, err)
		}
		sent = append(sent, m.Digest)
	}
	return sent, nil
}

// storedImage is an image of the store as package partial wants it.
type storedImage struct {
	p         *pusher
	raw       []byte
	mediaType types.MediaType
	manifest  v1.Manifest
}

func (i *storedImage) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *storedImage) RawManifest() ([]byte, error)        { return i.raw, nil }

func (i *storedImage) RawConfigFile() ([]byte, error) {
	return store.ReadDocument(i.p.s, i.manifest.Config)
}

func (i *storedImage) LayerByDigest(h gcr.Hash) (partial.CompressedLayer, error) {
	for _, d := range append([]v1.Descriptor{i.manifest.Config}, i.manifest.Layers...) {
		if d.Digest.String() == h.String() {
			return &storedLayer{i.p, d}, nil
		}
	}
	return nil, fmt.Errorf("blob %s: not of this image", h)
}

// storedLayer is a blob on its way out.
type storedLayer struct {
	p *pusher
	d v1.Descriptor
}

func (l *storedLayer) Digest() (gcr.Hash, error) { return gcr.NewHash(l.d.Digest.String()) }
func (l *storedLayer) Size() (int64, error)      { return l.d.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.d.MediaType), nil
}

// Compressed opens the blob, whose end comes only if it is sound: a damaged
// one is never sent whole.
func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.p.s.OpenBlob(l.d)
	if err != nil {
		return nil, err
	}
	return &uploading{Blob: r, l: l}, nil
}

// uploading tells the progress of an upload, now and then.
type uploading struct {
	*store.Blob
	l    *storedLayer
	n    int64
	last time.Time
}

func (u *uploading) Read(b []byte) (int, error) {
	const often = 100 * time.Millisecond
	n, err := u.Blob.Read(b)
	u.n += int64(n)
	e := Event{Action: "upload", Digest: u.l.d.Digest, Done: u.n, Total: u.l.d.Size}
	switch {
	case errors.Is(err, io.EOF):
		e.Action = "pushed"
		u.l.p.tell(e)
	case time.Since(u.last) >= often:
		u.last = time.Now()
		u.l.p.tell(e)
	}
	return n, err
}

// mountable names, for each layer, another repository of the registry that may
// have it.
type mountable struct {
	gcr.Image
	p *pusher
}

func (m mountable) Layers() ([]gcr.Layer, error) {
	layers, err := m.Image.Layers()
	for i, l := range layers {
		if err != nil {
			return nil, err
		}
		h, err := l.Digest()
		if err != nil {
			return nil, err
		}
		if at := m.p.elsewhere(digest.Digest(h.String())); at != nil {
			layers[i] = &remote.MountableLayer{Layer: l, Reference: at}
		}
	}
	return layers, err
}

// elsewhere finds a name of the same registry, in another repository, whose
// image has the layer.
func (p *pusher) elsewhere(d digest.Digest) name.Reference {
	host := p.to.Context().RegistryStr()
	for _, m := range p.idx.Manifests {
		full := store.RefName(m)
		if !store.IsManifest(m) || full == "" {
			continue
		}
		at, err := p.o.Client.Parse(full)
		if err != nil || at.Context().RegistryStr() != host || at.Context().Name() == p.to.Context().Name() {
			continue
		}
		img, err := store.LoadImage(p.s, m)
		if err == nil && slices.ContainsFunc(img.Manifest.Layers, func(l v1.Descriptor) bool { return l.Digest == d }) {
			return at
		}
	}
	return nil
}
