// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/step"
)

// Step is a command to run in a root file system that is mounted already.
type Step = step.Step

// NewSteps prepares the calling process, which must be the root of U0 and pid
// 1, to run steps of a build with the given runtime ("" for cpc-runtime),
// network and options, which are those of bundle.BuildStep or made of them.
func NewSteps(runtime string, d dirs.Dirs, net network.Options, o bundle.Options, inUse ...string) (*step.Runner, error) {
	path, err := FindRuntime(runtime)
	if err != nil {
		return nil, err
	}
	profile, err := loadProfile(o)
	if err != nil {
		return nil, err
	}
	return step.New(step.Config{Set: record.Set{Dirs: d}, Runtime: path, Seccomp: profile, Network: net, Options: o, InUse: inUse})
}
