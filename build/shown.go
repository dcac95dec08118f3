// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"sync"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/build/files"
)

// shared is what the builders of one image for several platforms have in common.
type shared struct {
	mu sync.Mutex
	// images are the images that were looked for, by name and platform.
	images map[string]*once
	// bases are the images whose FROM is in the output already: each is shown once.
	bases map[string]*sync.Once
	// step numbers the steps in the output; all is how many there are, as far as
	// the bases and their ONBUILD triggers are known.
	step, all int
	// later is how many builders have not begun, each is how many steps the latest had.
	later, each int
}

func newShared(builders int) *shared {
	return &shared{images: map[string]*once{}, bases: map[string]*sync.Once{}, later: builders}
}

// begin counts the steps of a builder that starts.
func (s *shared) begin(steps int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all += steps
	s.later, s.each = max(0, s.later-1), steps
}

// more adds steps that became known: n may be negative.
func (s *shared) more(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all += n
}

// next returns the number of a new step, and how many steps there are.
func (s *shared) next() (id, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step++
	return s.step, max(s.step, s.all+s.later*s.each)
}

// base returns what is done once for a base image: its FROM is shown.
func (s *shared) base(key string) *sync.Once {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bases[key] == nil {
		s.bases[key] = &sync.Once{}
	}
	return s.bases[key]
}

// imageKey names an image for a platform.
func imageKey(ref string, p v1.Platform) string { return ref + " " + dockerfile.FormatPlatform(p) }

// plannedSteps is how many steps the plan has, as far as it is known by now.
func (b *builder) plannedSteps() int {
	b.shared.mu.Lock()
	defer b.shared.mu.Unlock()
	n, bases := 0, map[string]bool{}
	for _, i := range b.plan.Order {
		n += b.plan.File.Stages[i].Layers()
		from := b.plan.Bases[i]
		key := imageKey(from.Image, b.plan.Platforms[i])
		if from.Kind != dockerfile.FromImage || !bases[key] && b.shared.bases[key] == nil {
			n++
		}
		bases[key] = bases[key] || from.Kind == dockerfile.FromImage
	}
	return n
}

// shown is a step in the output, while it lasts. One goroutine uses it.
type shown struct {
	to      Progress
	info    Vertex
	started time.Time
	said    time.Time // when the latest size was reported
}

// often is the least time between two reports of how much has been read.
const often = 200 * time.Millisecond

func show(to Progress, info Vertex) *shown {
	to.Start(info)
	return &shown{to: to, info: info, started: time.Now()}
}

// waits says that the step cannot go on before something else is there. What it
// returns ends that; the time until then is not the step's.
func (s *shown) waits(text string) (ended func()) {
	s.to.State(s.info, State{Waiting: true, Text: text})
	return func() {
		s.started = time.Now()
		s.to.State(s.info, State{})
	}
}

// reads returns what counts the content of total bytes that the step reads.
func (s *shown) reads(what string, total int64) files.Meter {
	done := int64(0)
	return func(n int64) {
		done += n
		if now := time.Now(); now.Sub(s.said) >= often {
			s.said = now
			s.to.State(s.info, State{Text: what, Done: done, Total: max(done, total)})
		}
	}
}

// works says what the step does, which takes long at times; "" ends that.
func (s *shown) works(text string) { s.to.State(s.info, State{Text: text}) }

func (s *shown) done(ctx context.Context, cached bool, err error) {
	s.to.Done(s.info, Outcome{Cached: cached, Err: err, Canceled: ctx.Err() != nil, Elapsed: time.Since(s.started)})
}
