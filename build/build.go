// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/outbound"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"

	"github.com/claude-pocket-console/cpc/build/files"
)

// Runner executes the command of a RUN step in a sandbox.
type Runner interface {
	// Run returns nil for exit status 0 and *ExitError for any other.
	Run(ctx context.Context, p Process) error
}

// Process is the command of one RUN step.
type Process struct {
	// Rootfs is the root file system, mounted and writable.
	Rootfs string
	// Args is the command, Env all of its environment.
	Args, Env []string
	// Dir is the working directory, which exists; User is USER as written, ""
	// for root.
	Dir, User string
	// Mounts are what the step finds in its root beside its files.
	Mounts []Mount
	// Network is "" for the build's, "none" or "host".
	Network string
	// Stdout and Stderr may be written to at the same time.
	Stdout, Stderr io.Writer
	Mapping        idmap.Mapping
}

// Options says what to build, from what, and with what.
type Options struct {
	// ContextDir is the directory that COPY reads from.
	ContextDir string
	// Dockerfile is the file's path, seen from the current directory; "" is
	// Dockerfile in the context, "-" is Stdin.
	Dockerfile string
	// InContext: Dockerfile is a path in the context, which came from elsewhere.
	InContext bool
	Stdin     io.Reader
	// Tags are the names that the image gets.
	Tags []string
	// Args are the build arguments. SOURCE_DATE_EPOCH among them pins times.
	Args map[string]string
	// Target is the name or index of the stage to build; "" is the last one.
	Target string
	// Contexts take the place of stages and images of their names.
	Contexts map[string]dockerfile.Context
	// NoCache runs every step, whatever the cache holds.
	NoCache bool
	Store   *rootfs.Store
	Mapping idmap.Mapping
	Runner  Runner
	// Secrets and Agents are what RUN --mount=type=secret and ssh may use.
	Secrets map[string]Secret
	Agents  map[string]Agent
	// Network is what RUN steps get that do not say: "" (the Runner's default),
	// "none" or "host".
	Network string
	// AllowHostNetwork lets a Dockerfile say RUN --network=host, and ADD name
	// what only this machine reaches.
	AllowHostNetwork bool
	// Egress says what ADD may fetch beside what is on the public internet, and
	// what of that it may not; nil: no rules.
	Egress outbound.Rules
	// Connect is the command that connects git to HOST PORT; see GitCheckout.
	Connect string
	// Fetch, if set, gets what ADD of a URL names in place of that.
	Fetch Fetcher
	// Pull fetches a base image that the store does not have; nil: none is. What
	// it passes to status is shown as output of the step that needs the image.
	Pull func(ctx context.Context, ref string, platform v1.Platform, status func(line string)) (*rootfs.Image, error)
	// AlwaysPull asks Pull even for images that the store has.
	AlwaysPull bool
	// Platform is what to build for; zero is this machine's.
	Platform v1.Platform
	// Emulate makes steps of another platform run; nil: they cannot.
	Emulate func(platform v1.Platform) error
	// NoCacheStages are stages, by name, whose steps run anew.
	NoCacheStages []string
	// Used, if set, gets the cache keys of all steps.
	Used *[]digest.Digest
	// BaseConfig, if set, finds what Check needs to know of a base image that
	// the store does not have.
	BaseConfig func(ctx context.Context, ref string, platform v1.Platform) (rootfs.Config, error)
	// Caches are asked, in this order, for what the store's own does not have.
	Caches []Cache
	// InlineCache has the image carry the cache of what it is made of.
	InlineCache bool
	// Labels are added to the image, and Annotations to its manifest.
	Labels, Annotations map[string]string
	// Ready, if set, is called with what was built, of every platform, before it
	// gets its names. If it fails, the names stay what they were.
	Ready func(ctx context.Context, images []*rootfs.Image) error
	// Progress is told what happens; nil: nobody is.
	Progress Progress
}

// Build builds an image and gives it the names in o.Tags. What is wrong with
// the Dockerfile or with a step is an *dockerfile.Error; nothing is left of a step that
// failed or that ctx ended, and steps before it stay in the cache.
func Build(ctx context.Context, o Options) (*rootfs.Image, error) {
	if o.Progress == nil {
		o.Progress = silent{}
	}
	o.Progress = &orderly{to: o.Progress}
	names := o.Tags
	if err := checkTags(names); err != nil {
		o.Progress.Close(err)
		return nil, err
	}
	if o.Ready != nil {
		o.Tags = nil
	}
	img, err := newBuilder(o, newShared(1)).build(ctx)
	o.Progress.Close(err)
	if err != nil || o.Ready == nil {
		return img, err
	}
	if err := o.Ready(ctx, []*rootfs.Image{img}); err != nil {
		return nil, err
	}
	img.Names, err = o.Store.Name(ctx, img.Digest, names)
	return img, err
}

func checkTags(names []string) error {
	for _, tag := range names {
		if _, err := rootfs.ParseReference(tag); err != nil {
			return fmt.Errorf("tag: %w", err)
		}
	}
	return nil
}

// Cache is a build cache elsewhere.
type Cache interface {
	// Get returns the entry of key, with its layer in the store.
	Get(ctx context.Context, key digest.Digest) (rootfs.CacheEntry, bool, error)
}

// Index is what BuildAll made: an image for each platform under one name.
type Index struct {
	Digest digest.Digest
	Images []*rootfs.Image
}

// BuildAll builds for several platforms, one after the other, so that what
// does not depend on the platform is built once.
func BuildAll(ctx context.Context, o Options, platforms []v1.Platform) (_ *Index, err error) {
	if o.Progress == nil {
		o.Progress = silent{}
	}
	o.Progress = &orderly{to: o.Progress}
	closed := false
	done := func(err error) {
		if !closed {
			closed = true
			o.Progress.Close(err)
		}
	}
	defer func() { done(err) }()
	names := o.Tags
	if err := checkTags(names); err != nil {
		return nil, err
	}
	var out Index
	read, common := readOnce(o), newShared(len(platforms))
	for _, p := range platforms {
		o.Platform, o.Tags = p, nil
		b := newBuilder(o, common)
		b.several, b.read = true, read
		img, err := b.build(ctx)
		if err != nil {
			return nil, err
		}
		out.Images = append(out.Images, img)
	}
	if out.Digest, err = o.Store.PutIndex(ctx, out.Images, nil); err != nil {
		return nil, err
	}
	done(nil)
	for _, img := range out.Images {
		img.Index = out.Digest
	}
	if o.Ready != nil {
		if err := o.Ready(ctx, out.Images); err != nil {
			return nil, err
		}
	}
	got, err := o.Store.Name(ctx, out.Digest, names)
	for _, img := range out.Images {
		img.Names = got
	}
	return &out, err
}

// builder is one build.
type builder struct {
	Options
	plan     *dockerfile.Plan
	context  *files.Tree
	named    map[string]*files.Tree // the contexts that are directories
	epoch    time.Time
	names    []string
	schedule *schedule

	shared *shared
	mu     sync.Mutex
	// first is where in Used the keys of this builder begin.
	first int
	// several: this is one of several platforms.
	several bool
	// read is readDockerfile, but for what is read already.
	read func() (dockerfileText, error)
}

func newBuilder(o Options, common *shared) *builder {
	if o.Used == nil {
		o.Used = new([]digest.Digest)
	}
	return &builder{Options: o, shared: common, named: map[string]*files.Tree{}, first: len(*o.Used)}
}

func (b *builder) build(ctx context.Context) (_ *rootfs.Image, err error) {
	if err := b.prepare(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.closeContexts()) }()
	if err := b.openContexts(); err != nil {
		return nil, err
	}
	release, err := b.Store.Hold()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	defer release()
	if err := b.warn(ctx); err != nil {
		return nil, err
	}
	b.shared.begin(b.plannedSteps())
	target, err := b.buildAll(ctx)
	if err != nil {
		return nil, err
	}
	return b.finish(ctx, target)
}

// openContexts opens the context and the named ones that are directories.
func (b *builder) openContexts() (err error) {
	if b.context, err = openContext(b.ContextDir, b.Dockerfile, b.InContext); err != nil {
		return err
	}
	b.context.Warn = b.Progress.Warn
	for name, c := range b.Contexts {
		if c.Dir == "" {
			continue
		}
		t, err := openContext(c.Dir, "", false)
		if err != nil {
			return fmt.Errorf("build context %s: %w", visible.Line(name), err)
		}
		t.Name = "the build context " + visible.Line(name)
		t.Warn = b.Progress.Warn
		b.named[name] = t
	}
	return nil
}

func (b *builder) closeContexts() error {
	var errs []error
	if b.context != nil {
		errs = append(errs, b.context.Close())
	}
	for _, t := range b.named {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

// prepare does all that can be wrong without touching the store.
func (b *builder) prepare() error {
	if b.read == nil {
		b.read = readOnce(b.Options)
	}
	text, err := b.read()
	if err != nil {
		return err
	}
	file, err := dockerfile.Parse(visible.Line(text.name), text.data, b.Args[dockerfile.CheckArg])
	if err != nil {
		return err
	}
	if err := dockerfile.CheckFrontend(b.Args); err != nil {
		return err
	}
	for _, tag := range b.Tags {
		canonical, err := rootfs.ParseReference(tag)
		if err != nil {
			return fmt.Errorf("tag: %w", err)
		}
		b.names = append(b.names, canonical)
	}
	b.plan, err = dockerfile.NewPlan(file, dockerfile.PlanOptions{
		Args: b.Args, Target: b.Target, Contexts: b.Contexts, HostNetwork: b.AllowHostNetwork, Platform: b.Platform,
	})
	if err != nil {
		return err
	}
	return b.setEpoch()
}

// setEpoch takes the time that pins the image's from the build argument or from
// an ARG before the first FROM.
func (b *builder) setEpoch() error {
	v, given := b.Args[dockerfile.EpochArg]
	if !given {
		v = b.plan.Globals[dockerfile.EpochArg]
	}
	if v == "" {
		return nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("build argument %s=%s: not a number of seconds since 1970", dockerfile.EpochArg, visible.Line(v))
	}
	b.epoch = time.Unix(n, 0).UTC()
	return nil
}

// image finds an image in the store or pulls it; each once in a build.
func (b *builder) image(ctx context.Context, ref string, platform v1.Platform, to *shown) (*rootfs.Image, error) {
	key := imageKey(ref, platform)
	b.shared.mu.Lock()
	o, ok := b.shared.images[key]
	if !ok {
		o = &once{}
		b.shared.images[key] = o
	}
	b.shared.mu.Unlock()
	o.Do(func() { o.img, o.err = b.findImage(ctx, ref, platform, to.info) })
	return o.img, o.err
}

func (b *builder) findImage(ctx context.Context, ref string, platform v1.Platform, info Vertex) (*rootfs.Image, error) {
	if strings.HasPrefix(ref, "sha256:") { // a named context that is in the store
		return b.Store.Image(ctx, ref)
	}
	canonical, err := rootfs.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	img, err := b.Store.ImageFor(ctx, canonical, platform)
	if err == nil && !b.AlwaysPull || err != nil && !errors.Is(err, rootfs.ErrNotFound) {
		return img, err
	}
	if other, otherErr := b.Store.Image(ctx, canonical); err != nil && otherErr == nil {
		// Without an architecture it is for any. Where nobody asked for a
		// platform, an image that somebody put here is what is meant.
		if other.Config.Architecture == "" || b.Platform.Architecture == "" && platform.Architecture == dockerfile.HostPlatform().Architecture {
			b.Progress.Warn(fmt.Sprintf("image %s is for %s, this machine is %s", visible.Line(ref), visible.Line(other.Config.Architecture), dockerfile.HostPlatform().Architecture))
			return other, nil
		}
	}
	if b.Pull == nil {
		if err == nil {
			return img, nil
		}
		return nil, hint.With(fmt.Errorf("image %s: %w", visible.Line(canonical), err), "pull it with cpc pull, or create it with cpc import")
	}
	return b.Pull(ctx, canonical, platform, func(line string) { b.Progress.Line(info, visible.Line(line)) })
}

// finish stores the image of the target stage.
func (b *builder) finish(ctx context.Context, s *stage) (*rootfs.Image, error) {
	cfg := s.plan.Config
	cfg.History = s.history
	if !b.epoch.IsZero() {
		cfg.Created = &b.epoch
	}
	if cfg.OS == "" {
		cfg.Platform = b.plan.Platforms[s.index]
	}
	if len(b.Labels) > 0 {
		labels := maps.Clone(b.Labels)
		for k, v := range cfg.Config.Labels {
			if _, given := labels[k]; !given {
				labels[k] = v
			}
		}
		cfg.Config.Labels = labels
	}
	annotations, err := b.annotations(s)
	if err != nil {
		return nil, err
	}
	img, err := b.Store.PutAnnotated(ctx, cfg, s.layers, b.names, annotations)
	if err != nil {
		return nil, fmt.Errorf("store the image: %w", err)
	}
	return img, nil
}
