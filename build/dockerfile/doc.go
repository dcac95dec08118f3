// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package dockerfile understands Dockerfiles: it parses and bounds them (Parse),
// expands variables, finds which stages are needed and what each builds on
// (NewPlan), plans a stage once the configuration of its base is known
// (Plan.Stage), and applies BuildKit's build checks (Plan.Check).
//
// An instruction is a value: a type in a file of its own, with the methods of
// instruction, and a row in the table kinds. What it does to files is an Action,
// which an Executor (the builder) is asked for in its own words: run a command,
// copy files, make a directory.
//
// The package is pure: it reads no file, mounts nothing, imports no os. All that
// it is given is hostile (the Dockerfile, the base's triggers, build arguments):
// sizes are bounded before anything is done for them, and what it says is safe to
// show. A File is planned by one goroutine: planning expands its instructions
// where they are.
package dockerfile
