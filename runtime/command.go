// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Why a command could not be run; errors of Create, Run and Exec.
var (
	// ErrCommandNotFound: a shell would exit 127.
	ErrCommandNotFound = errors.New("command not found")
	// ErrCommandNotExecutable: a shell would exit 126.
	ErrCommandNotExecutable = errors.New("command not executable")
)

// classified adds a sentinel to an error without changing its text.
type classified struct {
	error
	kind error
}

func (c classified) Unwrap() []error { return []error{c.error, c.kind} }

// commandError classifies libcontainer's error about a command. Its init is
// another process, so only text comes back; the quoted command in front keeps
// other failures apart.
func commandError(command string, err error) error {
	_, why, found := strings.Cut(err.Error(), "exec: "+strconv.Quote(command)+": ")
	if !found {
		return err
	}
	for _, cause := range []struct {
		text string
		kind error
	}{
		{"executable file not found in $PATH", ErrCommandNotFound},
		{"no such file or directory", ErrCommandNotFound},
		{"not a directory", ErrCommandNotFound},
		{"permission denied", ErrCommandNotExecutable},
		{"is a directory", ErrCommandNotExecutable},
		{"too many levels of symbolic links", ErrCommandNotExecutable},
		{"file name too long", ErrCommandNotExecutable},
	} {
		if strings.HasSuffix(why, cause.text) {
			return classified{error: err, kind: cause.kind}
		}
	}
	return err
}

// ExitCode returns what a command ends with on err: 127 and 126 for a command
// that is missing or cannot be run, otherwise fallback (1; 255 for exec).
func ExitCode(err error, fallback int) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrCommandNotFound):
		return 127
	case errors.Is(err, ErrCommandNotExecutable):
		return 126
	}
	return fallback
}

// errStatus says that an operation does not fit a container's status.
func errStatus(status fmt.Stringer) error {
	return fmt.Errorf("the container is %v", status)
}
