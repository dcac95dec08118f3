// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/visible"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// Check reads a Dockerfile and says what BuildKit's build checks find in it.
// Nothing is built or fetched, but for configurations of base images by
// o.BaseConfig.
func Check(ctx context.Context, o Options) ([]dockerfile.Finding, error) {
	if o.Progress == nil {
		o.Progress = silent{}
	}
	b := newBuilder(o, newShared(1))
	if err := b.prepare(); err != nil {
		return nil, err
	}
	err := b.openContexts()
	if err == nil {
		err = b.lint(ctx)
	}
	return b.plan.File.Findings, errors.Join(err, b.closeContexts())
}

// lint checks the plan. What a base image that is not here sets is not known.
func (b *builder) lint(ctx context.Context) error {
	return b.plan.Check(func(i int) (rootfs.Config, bool) {
		from, platform := b.plan.Bases[i], b.plan.Platforms[i]
		if from.Kind != dockerfile.FromImage {
			return dockerfile.ScratchConfig(platform), true
		}
		return b.baseConfig(ctx, from.Image, platform)
	}, b.context.LeavesOut)
}

// baseConfig is the configuration of an image that is here, or that can be asked for.
func (b *builder) baseConfig(ctx context.Context, ref string, platform v1.Platform) (rootfs.Config, bool) {
	if canonical, err := rootfs.ParseReference(ref); err == nil {
		ref = canonical
	}
	if img, err := b.Store.ImageFor(ctx, ref, platform); err == nil {
		return img.Config, true
	}
	if img, err := b.Store.Image(ctx, ref); err == nil {
		return img.Config, true
	}
	if b.BaseConfig == nil {
		return rootfs.Config{}, false
	}
	c, err := b.BaseConfig(ctx, ref, platform)
	if err != nil {
		b.Progress.Warn(fmt.Sprintf("the variables of stages on %s are not checked: %v", visible.Line(ref), err))
	}
	return c, err == nil
}

// warn tells of what the checks found, and refuses the build where the
// Dockerfile says # check=error=true.
func (b *builder) warn(ctx context.Context) error {
	_ = b.lint(ctx) // an error in the file comes up when its stage is planned
	for _, w := range b.plan.Warnings {
		b.Progress.Warn(w)
	}
	return b.tell(b.plan.File.Findings)
}

// tell warns of findings, or fails for them.
func (b *builder) tell(found []dockerfile.Finding) error {
	for _, f := range found {
		b.Progress.Warn(f.String())
	}
	file := b.plan.File
	if !file.FailsOnFindings() || len(found) == 0 {
		return nil
	}
	var rules []string
	for _, f := range found {
		if !slices.Contains(rules, f.Rule) {
			rules = append(rules, f.Rule)
		}
	}
	return file.Fault(nil, hint.With(errors.New("lint violation found for rules: "+strings.Join(rules, ", ")),
		"check=error=true turns warnings into errors; cpc build --check shows where they are"))
}
