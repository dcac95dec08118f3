// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/rootfs/store"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// TestExplain: each error has its own hint, not that of the kind it belongs to or of
// what caused it, and the status that a shell has for it.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int
		advice string // a part of it; "" is none at all
	}{
		{fmt.Errorf("exec: %w", process.ErrNotFound), notFound, "ls /usr/bin"},
		{process.ErrNotExecutable, notExecutable, "Check its mode"},
		{process.ErrWorkdir, notExecutable, "--workdir"},
		{rootfs.ErrNotFound, defaultFailure, "cpc images"},
		{fmt.Errorf("x: %w", rootfs.ErrNotInRegistry), defaultFailure, "cpc search"},
		{fmt.Errorf("%w: %w", rootfs.ErrUntrusted, io.ErrUnexpectedEOF), defaultFailure, "certificate authority"},
		{&store.CorruptError{Path: "p"}, defaultFailure, "cpc rmi"},
		{&store.CorruptError{}, defaultFailure, "pushed again"},
		{fmt.Errorf("%w: %w", netns.ErrUnavailable, unix.ENOSPC), defaultFailure, "--network none"},
		{errors.Join(io.EOF, errDamaged), defaultFailure, "check --repair"},
		{io.ErrUnexpectedEOF, defaultFailure, "incomplete"},
		{unix.ENOSPC, defaultFailure, "cpc rmi"},
		{&sandbox.LimitsError{Missing: []cgroups.Missing{{Fix: "mount it"}}}, defaultFailure, "mount it\nTo run without"},
		{&sandbox.UnansweredError{Name: "x", PID: 7, Stopped: true}, defaultFailure, "kill -CONT 7"},
		{&wire.FailureBody{Code: 42, Hint: "the monitor's"}, 42, "the monitor's"},
		{usageError{rootfs.ErrNotFound}, usageFailure, ""},
		{io.EOF, defaultFailure, ""},
	} {
		code, advice := explain(c.err)
		if code != c.code || !strings.Contains(advice, c.advice) || (c.advice == "") != (advice == "") {
			t.Errorf("%v: status %d, hint %q", c.err, code, advice)
		}
	}
}
