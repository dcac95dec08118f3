// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/runtime/enter"
)

// Why a command could not be run; errors of Create, Run and Exec.
var (
	// ErrCommandNotFound: a shell would exit 127.
	ErrCommandNotFound = errors.New("command not found")
	// ErrCommandNotExecutable: a shell would exit 126.
	ErrCommandNotExecutable = errors.New("command not executable")
)

// isDirectory is what libcontainer's init says of a command that is one.
const isDirectory = "is a directory"

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
	if err == nil {
		return nil
	}
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
		{isDirectory, ErrCommandNotExecutable},
		{"too many levels of symbolic links", ErrCommandNotExecutable},
		{"file name too long", ErrCommandNotExecutable},
	} {
		if !strings.HasSuffix(why, cause.text) {
			continue
		}
		if cause.text == isDirectory {
			// execve(2)'s own words, by which podman tells what is not executable.
			err = fmt.Errorf("%w: permission denied", err)
		}
		return classified{error: err, kind: cause.kind}
	}
	return err
}

// notFound says what package enter's init reports of a command that it has not found
// as libcontainer's does.
func notFound(command string, err error) error {
	before, why, found := strings.Cut(err.Error(), enter.NoCommand)
	if !found {
		return err
	}
	switch why = strings.ToLower(why[:1]) + why[1:]; {
	case why == unix.EXDEV.Error():
		why = "cannot run executable found relative to current directory"
	case !strings.Contains(command, "/"):
		why = "executable file not found in $PATH"
	case why != unix.EISDIR.Error() && why != unix.EACCES.Error():
		why = "stat " + command + ": " + why
	}
	return fmt.Errorf("%sexec: %q: %s", before, command, why)
}

// notExecuted is the error for a command that was found, and that execve(2) then
// refused. A missing file can only be what the file itself needs.
func notExecuted(command string, errno unix.Errno) error {
	why := errno.Error()
	switch errno {
	case unix.ENOENT:
		why = "its interpreter, which the first line or the ELF header names, is missing (a carriage return at the end counts): " + why
	case unix.ENOEXEC:
		why = "neither a program for this machine nor a script that begins with #!: " + why
	case unix.E2BIG:
		why = "arguments and environment are too large: " + why
	case unix.ETXTBSY:
		why = "the file is open for writing: " + why
	default:
	}
	return classified{error: fmt.Errorf("exec: %q: %s", command, why), kind: ErrCommandNotExecutable}
}

// ExitCode returns what a command ends with on err, which is fallback (1; 255
// for exec). create, run, start and exec end with 127 and 126 for a command that
// is missing or cannot be run.
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

// errStatus says that an operation does not fit a container's status, in words
// of runc's that callers look for: "cannot exec in a stopped container".
func errStatus(operation string, status fmt.Stringer) error {
	return fmt.Errorf("cannot %s a %v container", operation, status)
}
