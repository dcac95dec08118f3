// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	goruntime "runtime"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// schedule runs the stages of one build side by side: each waits for another
// only where it needs that one's files. A stage needs earlier ones only, so
// they never wait in a circle.
type schedule struct {
	build func(ctx context.Context, i int) (*stage, error)
	group *errgroup.Group
	// slots bounds how many steps work at the same time; who waits for a
	// stage holds none.
	slots chan struct{}

	mu     sync.Mutex
	stages map[int]*pending
}

// pending is a stage that is being built; stage is set once done is closed,
// which never happens if it fails.
type pending struct {
	done  chan struct{}
	stage *stage
}

// atOnce is how many steps may work at the same time.
func atOnce() int { return max(2, min(goruntime.GOMAXPROCS(0), 8)) }

// buildAll builds the stages of the plan and returns the target.
func (b *builder) buildAll(ctx context.Context) (*stage, error) {
	group, ctx := errgroup.WithContext(ctx)
	s := &schedule{build: b.buildStage, group: group, slots: make(chan struct{}, atOnce()), stages: map[int]*pending{}}
	b.schedule = s
	for _, i := range b.plan.Order {
		s.start(ctx, i)
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return s.stages[b.plan.Target].stage, nil
}

// start begins stage i unless that has been done.
func (s *schedule) start(ctx context.Context, i int) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.stages[i]; ok {
		return p
	}
	p := &pending{done: make(chan struct{})}
	s.stages[i] = p
	s.group.Go(func() error {
		stage, err := s.build(ctx, i)
		if err != nil {
			return err // which ends the context that others wait with
		}
		p.stage = stage
		close(p.done)
		return nil
	})
	return p
}

// need waits for stage i, and shows that where it takes time.
func (b *builder) need(ctx context.Context, i int, to *shown) (*stage, error) {
	select {
	case <-b.schedule.start(ctx, i).done:
	default:
		name := b.plan.File.Stages[i].Name
		if name == "" {
			name = strconv.Itoa(i)
		}
		defer to.waits("stage " + visible.Line(name))()
	}
	return b.schedule.need(ctx, i)
}

// need waits for stage i. It starts one that no Dockerfile instruction but an
// ONBUILD trigger needs.
func (s *schedule) need(ctx context.Context, i int) (*stage, error) {
	p := s.start(ctx, i)
	select {
	case <-p.done:
		return p.stage, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// slot waits until the caller may work, and returns what ends that.
func (s *schedule) slot(ctx context.Context, to *shown) (release func(), err error) {
	release = func() { <-s.slots }
	select {
	case s.slots <- struct{}{}:
		return release, nil
	default:
		defer to.waits("other steps")()
	}
	select {
	case s.slots <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// once is an image that is looked for, and found, once in a build.
type once struct {
	sync.Once
	img *rootfs.Image
	err error
}

// orderly is a Progress that stages running side by side may use.
type orderly struct {
	mu sync.Mutex
	to Progress
}

// Start implements Progress.
func (o *orderly) Start(s Vertex) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to.Start(s)
}

// Line implements Progress.
func (o *orderly) Line(s Vertex, line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to.Line(s, line)
}

// State implements Progress.
func (o *orderly) State(s Vertex, now State) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to.State(s, now)
}

// Done implements Progress.
func (o *orderly) Done(s Vertex, out Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to.Done(s, out)
}

// Warn implements Progress.
func (o *orderly) Warn(message string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to.Warn(message)
}

// Close implements Progress.
func (o *orderly) Close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to.Close(err)
}
