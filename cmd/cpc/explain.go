// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"io"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Exit statuses of cpc itself; a sandbox's program has its own.
const (
	defaultFailure = 1
	usageFailure   = 125
	notExecutable  = 126
	notFound       = 127
)

// explain finds the exit status and the next step for an error. A hint stands beside the
// error that it is for (internal/hint); here are those for the errors of others.
func explain(err error) (code int, advice string) {
	if failure, ok := errors.AsType[*wire.FailureBody](err); ok {
		return failure.Code, failure.Hint
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return usageFailure, ""
	}
	code = failureStatus(err)
	if advice = hint.For(err); advice != "" {
		return code, advice
	}
	switch {
	case errors.Is(err, tar.ErrHeader):
		return code, "Use the tar of a root file system, uncompressed or compressed with gzip, zstd or bzip2."
	case errors.Is(err, io.ErrUnexpectedEOF):
		return code, "The file is incomplete. Create it or download it again."
	}
	return code, spaceHint(err)
}

// failureStatus is the exit status for an error: a shell's where there is one.
func failureStatus(err error) int {
	switch {
	case errors.Is(err, process.ErrNotFound):
		return notFound
	case errors.Is(err, process.ErrNotExecutable), errors.Is(err, process.ErrWorkdir):
		return notExecutable
	}
	return defaultFailure
}
