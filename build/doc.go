// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package build turns a Dockerfile and its context into an image of the store.
//
// It works in three stages that stay apart: the Dockerfile is parsed and bounded,
// each needed stage is planned once its base image's configuration is known, and
// the plan is executed against a rootfs.Store. The first two are build/dockerfile,
// which is pure. The third is here: a builder is one build, a schedule runs its
// stages side by side, a stage goes through its instructions, and a step executes
// one of them, as a dockerfile.Executor. A step knows its stage, a stage its builder,
// a builder its schedule, and none the other way.
//
// Invariants:
//   - the Dockerfile, the context, the base image and everything a RUN step
//     prints or leaves behind are hostile: sizes are bounded, paths are resolved
//     inside their tree only, output is stripped of control characters;
//   - a step either ends as a committed layer or leaves nothing;
//   - RUN is executed by the caller's Runner, never by this package;
//   - an instruction or flag that is not implemented is an error that names it.
//
// Build is called by a process that is uid 0 with its own mount namespace: real
// root, or the root of U0 (see internal/idmap). One Build uses one goroutine of
// its own plus the writers handed to the Runner; it holds no lock of the store
// between calls.
package build
