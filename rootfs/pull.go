// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// PullOptions are the options of Pull.
type PullOptions struct {
	// Progress, if set, is called by one goroutine at a time.
	Progress func(Event)
	// Insecure lists registries (host or host:port) that may be spoken to
	// over plain HTTP, or with a certificate that cannot be verified. It
	// counts if there is no Client.
	Insecure []string
	// Client reaches the registry; one with docker's credentials if nil.
	Client *registry.Client
	// Platform is the one wanted of an image for several; the host's if nil.
	Platform *v1.Platform
	// Unpack has layers unpacked while they are downloaded. The caller must
	// have the rights that Layers needs.
	Unpack bool
	// Referrers has what the registry keeps about the image brought along.
	Referrers bool
}

func (o PullOptions) client() *registry.Client {
	if o.Client != nil {
		return o.Client
	}
	hosts := make(map[string]registry.Host)
	for _, h := range o.Insecure {
		hosts[h] = registry.Host{Insecure: true}
	}
	return registry.New(registry.Options{Hosts: hosts})
}

// Pull gets an image from its registry, or from a mirror of it. Every blob is
// verified, and layers that the store has are not downloaded again; a download
// that breaks off is taken up where it ended, also by a later Pull. Of a list
// of platforms it takes one. The error is ErrNotFound or ErrUnreachable.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (_ *Image, err error) {
	canonical, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	b, err := s.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	p := &puller{s: s, b: b, progress: o.Progress, client: o.client(), o: o}
	d, err := p.pullAny(ctx, canonical)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	var about []v1.Descriptor
	if o.Referrers {
		if about, err = p.referrers(ctx, d.Digest); err != nil {
			return nil, fmt.Errorf("pull %s: referrers: %w", ref, ExplainRemote(err))
		}
	}
	return commitNamed(ctx, b, d, names{[]string{canonical}, about})
}

// RemoteConfig asks a registry, or a mirror of it, for an image's configuration
// and nothing else. Errors are those of Pull.
func RemoteConfig(ctx context.Context, ref string, o PullOptions) (cfg Config, err error) {
	canonical, err := ParseReference(ref)
	if err != nil {
		return cfg, err
	}
	p := &puller{client: o.client(), o: o}
	err = p.anywhere(ctx, canonical, func(at name.Reference) error {
		img, _, err := p.find(ctx, at)
		if err != nil {
			return err
		}
		docs, err := p.documents(img)
		cfg = docs.cfg
		return err
	})
	if err != nil {
		return cfg, fmt.Errorf("configuration of %s: %w", ref, err)
	}
	return cfg, nil
}

// puller is one Pull.
type puller struct {
	s        *Store
	b        *store.Batch // what is pulled goes into; nil if nothing is
	mu       sync.Mutex   // progress is called one at a time
	progress func(Event)
	client   *registry.Client
	o        PullOptions
	from     *remoteRepo
}

// remoteRepo is a repository that one is logged in to.
type remoteRepo struct {
	repo name.Repository
	http http.RoundTripper
}

func (p *puller) tell(e Event) {
	if p.progress == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress(e)
}

// pullAny pulls from a mirror or from the registry itself.
func (p *puller) pullAny(ctx context.Context, canonical string) (d v1.Descriptor, err error) {
	err = p.anywhere(ctx, canonical, func(at name.Reference) (err error) {
		d, err = p.pull(ctx, at)
		return err
	})
	return d, err
}

// anywhere asks mirrors and then the registry itself.
func (p *puller) anywhere(ctx context.Context, canonical string, ask func(name.Reference) error) error {
	places, err := p.client.Endpoints(canonical)
	if err != nil {
		return err
	}
	var errs []error
	for _, at := range places {
		err := ask(at.Ref)
		if err == nil || ctx.Err() != nil || ownFault(err) {
			return ExplainRemote(err)
		}
		err = ExplainRemote(err)
		if at.Mirror {
			err = fmt.Errorf("mirror %s: %w", at.Ref.Context().RegistryStr(), err)
		}
		errs = append([]error{err}, errs...) // the registry's own comes first
	}
	return errors.Join(errs...)
}

// pull downloads the blobs of the image and returns its manifest.
func (p *puller) pull(ctx context.Context, ref name.Reference) (v1.Descriptor, error) {
	img, origin, err := p.find(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return p.store(ctx, img, origin)
}

// find returns the image for the platform that is wanted, and the digest that
// its reference has in the registry, which may be a list's.
func (p *puller) find(ctx context.Context, ref name.Reference) (gcr.Image, digest.Digest, error) {
	p.tell(Event{Action: "resolve"})
	login, err := p.client.Login(ctx, ref.Context(), transport.PullScope)
	if err != nil {
		return nil, "", err
	}
	p.from = &remoteRepo{ref.Context(), login}
	desc, err := remote.Get(ref, p.remote(ctx)...)
	if err != nil {
		return nil, "", err
	}
	if err := settleType(desc); err != nil {
		return nil, "", err
	}
	img, err := p.imageOf(ctx, ref, desc)
	if err != nil {
		return nil, "", err
	}
	return img, digest.Digest(desc.Digest.String()), nil
}

// documents are an image's manifest and configuration.
type documents struct {
	raw, config []byte
	manifest    v1.Manifest
	cfg         Config
}

// documents reads what img says of itself, and checks it.
func (p *puller) documents(img gcr.Image) (d documents, err error) {
	if d.raw, err = img.RawManifest(); err != nil {
		return d, err
	}
	if len(d.raw) > store.MaxDocument {
		return d, fmt.Errorf("manifest: %d bytes are too many: at most %d are read", len(d.raw), store.MaxDocument)
	}
	if d.manifest, err = store.ParseManifest(d.raw); err == nil {
		err = checkParts(d.manifest)
	}
	if err != nil {
		return d, err
	}
	if size := d.manifest.Config.Size; size > store.MaxDocument {
		return d, fmt.Errorf("configuration: %d bytes are too many: at most %d are read", size, store.MaxDocument)
	}
	if d.config, err = img.RawConfigFile(); err != nil {
		return d, ofImage(err, "configuration "+d.manifest.Config.Digest.String())
	}
	if d.cfg, err = store.ParseConfig(d.config, len(d.manifest.Layers)); err != nil {
		return d, fmt.Errorf("configuration %s: %w", d.manifest.Config.Digest, err)
	}
	return d, p.checkPlatform(d.cfg)
}

// store downloads what is missing of img. Origin is the digest that its
// reference has in the registry.
func (p *puller) store(ctx context.Context, img gcr.Image, origin digest.Digest) (v1.Descriptor, error) {
	docs, err := p.documents(img)
	if err != nil {
		return v1.Descriptor{}, err
	}
	layers := (&Image{Manifest: docs.manifest, Config: docs.cfg}).LayerDescriptors()
	if err := p.fetchAll(ctx, p.b, layers); err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := p.b.Document(docs.config, docs.manifest.Config.MediaType); err != nil {
		return v1.Descriptor{}, err
	}
	mediaType, err := img.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := p.b.Document(docs.raw, string(mediaType))
	if err == nil && origin != d.Digest {
		d.Annotations = map[string]string{annotationOrigin: origin.String()}
	}
	return d, err
}

// checkPlatform refuses an image, not of a list, for another platform than was
// asked for, or for another operating system.
func (p *puller) checkPlatform(cfg Config) error {
	if cfg.OS != "" && cfg.OS != "linux" {
		return fmt.Errorf("%w: it is for %s", ErrNoPlatform, oneWord(FormatPlatform(cfg.Platform)))
	}
	if p.o.Platform == nil || cfg.Architecture == "" {
		return nil
	}
	img := &Image{Config: cfg}
	if !imageServes(img, *p.o.Platform) {
		return fmt.Errorf("%w (%s): it is for %s", ErrNoPlatform, FormatPlatform(*p.o.Platform), oneWord(FormatPlatform(img.Platform())))
	}
	return nil
}

// layersAtOnce is how many layers are looked at, downloaded or unpacked together.
const layersAtOnce = 4

// fetchAll downloads layers into a batch, and unpacks them meanwhile if that is wanted. What
// has come is kept even if something else fails.
func (p *puller) fetchAll(ctx context.Context, b *store.Batch, layers []LayerDescriptor) error {
	missing, err := p.missing(ctx, layers)
	if err != nil {
		return err
	}
	if err := b.Claim(ctx, missing); err != nil {
		return err
	}
	var mu sync.Mutex
	var come []v1.Descriptor
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(layersAtOnce)
	for _, l := range missing {
		g.Go(func() error {
			d := l.Descriptor
			came, err := b.Layer(gctx, l, store.LayerOptions{Unpack: p.o.Unpack, Tell: p.tell}, func(ctx context.Context, part *store.Part) error {
				return p.download(ctx, d, part)
			})
			switch {
			case err != nil:
				return ofImage(foreign(err, d), "layer "+d.Digest.String())
			case !came: // another process has brought it meanwhile
				p.tell(Event{Action: "exists", Digest: d.Digest, Done: d.Size, Total: d.Size})
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			come = append(come, d)
			return nil
		})
	}
	err = g.Wait()
	for _, d := range come {
		p.tell(Event{Action: "sync", Digest: d.Digest, Done: d.Size, Total: d.Size})
	}
	kept := b.Keep() // also when another layer has failed
	if err = errors.Join(err, kept); err != nil {
		return err
	}
	for _, d := range come {
		p.tell(Event{Action: "done", Digest: d.Digest, Done: d.Size, Total: d.Size})
	}
	if p.o.Unpack {
		// What was here already, as a blob only.
		return b.Unpack(ctx, layers, p.tell)
	}
	return nil
}

// missing returns the layers, each once, whose blobs are not in the store.
func (p *puller) missing(ctx context.Context, layers []LayerDescriptor) ([]LayerDescriptor, error) {
	var once []LayerDescriptor
	for _, l := range layers {
		if !slices.ContainsFunc(once, func(o LayerDescriptor) bool { return o.Descriptor.Digest == l.Descriptor.Digest }) {
			once = append(once, l)
		}
	}
	here := make([]bool, len(once))
	var g errgroup.Group
	g.SetLimit(layersAtOnce)
	for i, l := range once {
		g.Go(func() error {
			if here[i] = p.s.HaveBlob(l.Descriptor); here[i] {
				p.tell(Event{Action: "exists", Digest: l.Descriptor.Digest, Done: l.Descriptor.Size, Total: l.Descriptor.Size})
			}
			return ctx.Err()
		})
	}
	err := g.Wait()
	var out []LayerDescriptor
	for i, l := range once {
		if !here[i] {
			out = append(out, l)
		}
	}
	return out, err
}
