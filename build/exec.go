// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// stage is a stage while it is being executed and, afterwards, its result.
type stage struct {
	b       *builder
	index   int
	plan    *dockerfile.StagePlan
	parent  *dockerfile.StagePlan // of the stage that it is built on
	layers  []rootfs.LayerDescriptor
	history []v1.History
	// label is the stage's part of the output: "build " or "".
	label string
	total int
	count int
}

// cachedStep is what the cache keeps of a step beside its layer.
type cachedStep struct {
	Created time.Time `json:"created"`
}

// buildStage plans and executes stage i.
func (b *builder) buildStage(ctx context.Context, i int) (*stage, error) {
	s := &stage{b: b, index: i, label: b.stageLabel(i)}
	from := b.plan.File.Stages[i]
	layers := from.Layers()
	s.total = 1 + layers
	config, err := s.showBase(ctx)
	if err != nil {
		return nil, b.plan.File.Fault(from.Location, err)
	}
	plan, found, err := b.plan.Stage(i, config, s.parent)
	if err != nil {
		return nil, err
	}
	s.plan = plan
	if err := b.tell(found); err != nil {
		return nil, err
	}
	more := s.plan.Layers() - layers
	s.total += more
	b.shared.more(more)
	s.history = slices.Clone(config.History)
	for _, o := range s.plan.Ops {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("build: %w", context.Cause(ctx))
		}
		if err := s.execute(ctx, o); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// stageLabel names a stage in the output where there is more than one.
func (b *builder) stageLabel(i int) string {
	label := ""
	if b.several {
		label = dockerfile.FormatPlatform(b.plan.Platform) + " "
	}
	if len(b.plan.Order) < 2 {
		return label
	}
	if name := b.plan.File.Stages[i].Name; name != "" {
		return label + name + " "
	}
	return fmt.Sprintf("%sstage-%d ", label, i)
}

// showBase is base as a step of the output. An image that several stages start
// from is shown once: those that come later wait until it is there.
func (s *stage) showBase(ctx context.Context) (config rootfs.Config, err error) {
	b, done := s.b, false
	first := func() {
		done = true
		shown := show(b.Progress, s.next("FROM "+b.baseName(s.index)))
		config, err = s.base(ctx, shown)
		shown.done(ctx, false, err)
	}
	if from := b.plan.Bases[s.index]; from.Kind == dockerfile.FromImage {
		b.shared.base(imageKey(from.Image, b.plan.Platforms[s.index])).Do(first)
	} else {
		first()
	}
	if done {
		return config, err
	}
	s.count++
	return s.base(ctx, &shown{to: silent{}})
}

// base takes over the layers and the configuration of what the stage starts from.
func (s *stage) base(ctx context.Context, to *shown) (rootfs.Config, error) {
	from := s.b.plan.Bases[s.index]
	switch from.Kind {
	case dockerfile.FromScratch:
		return dockerfile.ScratchConfig(s.b.plan.Platforms[s.index]), nil
	case dockerfile.FromStage:
		parent, err := s.b.need(ctx, from.Stage, to)
		if err != nil {
			return rootfs.Config{}, err
		}
		s.layers = append(s.layers, parent.layers...)
		s.parent = parent.plan
		config := parent.plan.Config
		config.History = parent.history
		return config, nil
	case dockerfile.FromNamed:
		return s.baseDirectory(ctx, from, to)
	case dockerfile.FromImage, dockerfile.FromContext:
	}
	img, err := s.b.image(ctx, from.Image, s.b.plan.Platforms[s.index], to)
	if err != nil {
		return rootfs.Config{}, fmt.Errorf("FROM %s: %w", visible.Line(from.Image), err)
	}
	s.layers = append(s.layers, img.LayerDescriptors()...)
	return img.Config, nil
}

// baseDirectory makes an image of a named context that is a directory.
func (s *stage) baseDirectory(ctx context.Context, from dockerfile.Origin, to *shown) (rootfs.Config, error) {
	s.plan = &dockerfile.StagePlan{Config: dockerfile.ScratchConfig(s.b.plan.Platforms[s.index])}
	o := &dockerfile.Op{
		Name: "FROM", CreatedBy: "FROM " + visible.Line(from.Name),
		Action: &dockerfile.Copy{From: from, SourcePaths: []string{"."}, Dest: "/", IsDir: true},
	}
	if _, err := s.files(ctx, o, to); err != nil {
		return rootfs.Config{}, fmt.Errorf("FROM %s: %w", visible.Line(from.Name), err)
	}
	config := s.plan.Config
	config.History = s.history
	return config, nil
}

// baseName is what a stage starts from, for the output.
func (b *builder) baseName(i int) string {
	if from := b.plan.Bases[i]; from.Kind == dockerfile.FromImage {
		return visible.Line(from.Image)
	}
	return visible.Line(b.plan.File.Stages[i].BaseName)
}

// next numbers a step.
func (s *stage) next(text string) Vertex {
	id, all := s.b.shared.next()
	s.count++
	return Vertex{ID: id, Stage: s.label, Index: s.count, Total: s.total, All: all, Text: text}
}

// execute does one instruction: from the cache, or for real.
func (s *stage) execute(ctx context.Context, o *dockerfile.Op) error {
	if o.Action == nil {
		return s.metadata(ctx, o)
	}
	shown := show(s.b.Progress, s.next(o.Text))
	cached, err := s.files(ctx, o, shown)
	shown.done(ctx, cached, err)
	if err == nil {
		return nil
	}
	e := s.b.plan.File.Fault(o.Location, err)
	e.Step = visible.Bounded(o.Text, 120)
	return e
}

// metadata records an instruction that changes the configuration only. Its time
// comes from the cache, so that an unchanged build gives the same image.
func (s *stage) metadata(ctx context.Context, o *dockerfile.Op) error {
	key, err := s.key(o, "")
	if err != nil {
		return err
	}
	created, _, ok, err := s.lookup(ctx, key)
	if err != nil {
		return err
	}
	if !ok {
		created = s.b.now()
		if err := s.remember(key, rootfs.LayerDescriptor{Empty: true}, created); err != nil {
			return err
		}
	}
	s.record(o, rootfs.LayerDescriptor{Empty: true}, created)
	return nil
}

// files executes an instruction that may change files.
func (s *stage) files(ctx context.Context, o *dockerfile.Op, to *shown) (cached bool, err error) {
	x := &step{stage: s, op: o, shown: to}
	defer func() { err = errors.Join(err, x.close()) }()
	if err := x.await(ctx); err != nil {
		return false, err
	}
	release, err := s.b.schedule.slot(ctx, to)
	if err != nil {
		return false, err
	}
	defer release()
	r, err := x.find(ctx)
	if err == nil && !r.ok && x.unread {
		// What is known of a download does not do, then.
		x.whole = true
		r, err = x.find(ctx)
	}
	if err != nil {
		return false, err
	}
	if r.ok {
		s.record(o, r.desc, r.created)
		return true, nil
	}
	desc, err := x.commit(ctx)
	if err != nil {
		return false, err
	}
	created := s.b.now()
	if err := s.remember(r.key, desc, created); err != nil {
		return false, err
	}
	s.record(o, desc, created)
	return false, nil
}

// cachedResult is a step's place in the cache and, if ok, what is there.
type cachedResult struct {
	key     digest.Digest
	created time.Time
	desc    rootfs.LayerDescriptor
	ok      bool
}

// find opens the sources and looks the step up.
func (x *step) find(ctx context.Context) (r cachedResult, err error) {
	content, err := x.op.Action.Open(ctx, x)
	if err != nil {
		return r, err
	}
	if r.key, err = x.stage.key(x.op, content); err != nil {
		return r, err
	}
	r.created, r.desc, r.ok, err = x.stage.lookup(ctx, r.key)
	return r, err
}

// record appends a layer and a line of history.
func (s *stage) record(o *dockerfile.Op, desc rootfs.LayerDescriptor, created time.Time) {
	if !desc.Empty {
		s.layers = append(s.layers, desc)
	}
	s.plan.Config.Created = &created
	s.history = append(s.history, v1.History{
		Created: &created, CreatedBy: o.CreatedBy, Comment: "cpc build", EmptyLayer: desc.Empty,
	})
}

// stepKey is what makes two steps the same. Parents are content, so a step is
// found again whatever led to the files it starts from. The keys of testdata/keys
// say that it is written as it always was.
type stepKey struct {
	Version int             `json:"version"`
	Arch    string          `json:"arch"`
	Variant string          `json:"variant,omitempty"`
	Mode    idmap.Mode      `json:"mode"`
	Parents []digest.Digest `json:"parents"`
	Epoch   int64           `json:"epoch,omitempty"`
}

// digest is the name in the cache of a step that does action, which has that name
// and value; content is the digest of its sources.
func (k *stepKey) digest(action string, value any, content string) (digest.Digest, error) {
	common, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	own, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	data := slices.Concat(bytes.TrimSuffix(common, []byte("}")), fmt.Appendf(nil, ",%q:%s", action, own))
	if content != "" {
		data = fmt.Appendf(data, ",\"content\":%q", content)
	}
	return digest.FromBytes(append(data, '}')), nil
}

// key is the step's name in the cache; content is the digest of its sources.
func (s *stage) key(o *dockerfile.Op, content string) (digest.Digest, error) {
	k := stepKey{Version: 1, Arch: s.plan.Config.Architecture, Variant: s.plan.Config.Variant, Mode: s.b.Mapping.Mode}
	action, value := "meta", any(o.CreatedBy)
	linked := false
	if o.Action != nil {
		action, value = o.Action.Key()
		linked = o.Action.Linked()
	}
	for _, l := range s.layers {
		if linked {
			break
		}
		k.Parents = append(k.Parents, l.DiffID)
	}
	if !s.b.epoch.IsZero() {
		k.Epoch = s.b.epoch.Unix()
	}
	name, err := k.digest(action, value, content)
	if err != nil {
		return "", fmt.Errorf("cache key: %w", err)
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	*s.b.Used = append(*s.b.Used, name)
	return name, nil
}

// noCache reports whether the stage's steps are to be run anew.
func (s *stage) noCache() bool {
	return s.b.NoCache || slices.Contains(s.b.NoCacheStages, strings.ToLower(s.b.plan.File.Stages[s.index].Name))
}

func (s *stage) lookup(ctx context.Context, key digest.Digest) (time.Time, rootfs.LayerDescriptor, bool, error) {
	var none rootfs.LayerDescriptor
	if s.noCache() {
		return time.Time{}, none, false, nil
	}
	entry, ok, err := s.b.cached(ctx, key)
	if err != nil || !ok {
		return time.Time{}, none, false, err
	}
	var c cachedStep
	if err := json.Unmarshal(entry.Config, &c); err != nil {
		return time.Time{}, none, false, nil //nolint:nilerr // an entry that cannot be read is made again
	}
	return c.Created, entry.Layer, true, nil
}

func (s *stage) remember(key digest.Digest, desc rootfs.LayerDescriptor, created time.Time) error {
	config, err := json.Marshal(cachedStep{Created: created})
	if err != nil {
		return err
	}
	return s.b.Store.CachePut(key, rootfs.CacheEntry{Layer: desc, Config: config})
}

// now is the time that goes into the image.
func (b *builder) now() time.Time {
	if !b.epoch.IsZero() {
		return b.epoch
	}
	return time.Now().UTC().Truncate(time.Millisecond)
}
