// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package handoff passes work from a cpc process to a copy of itself that it
// starts in other namespaces: one versioned message, written once the child's
// id mappings are in place and read before the child does anything else.
//
// The child gets the message on file descriptor 3 and any other files from 4
// on. A child that is started by hand finds no message and refuses.
package handoff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// version changes with every change to what a child understands. Parent and
// child are the same binary unless it was replaced between fork and exec.
const version = 1

const (
	messageFD = 3
	// FirstFile is the descriptor of the first file that is passed along.
	FirstFile = messageFD + 1
	maxBytes  = 8 << 20
)

// ErrNone reports that no message is there: nobody handed anything over.
var ErrNone = errors.New("no message from a parent cpc process on descriptor 3")

type envelope struct {
	Version int             `json:"version"`
	Role    string          `json:"role"`
	Body    json.RawMessage `json:"body"`
}

// Send writes the message for a child in the given role. It is the caller's
// to close w afterwards: the child reads to the end.
func Send(w io.Writer, role string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("hand-off to %s: %w", role, err)
	}
	if err := json.NewEncoder(w).Encode(envelope{Version: version, Role: role, Body: raw}); err != nil {
		return fmt.Errorf("hand-off to %s: %w", role, err)
	}
	return nil
}

// Receive reads the message for role from descriptor 3 into body and closes
// the descriptor. It blocks until the parent has sent it.
func Receive(role string, body any) error {
	var st unix.Stat_t
	if err := unix.Fstat(messageFD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return ErrNone
	}
	f := os.NewFile(messageFD, "handoff")
	defer f.Close()
	return decode(f, role, body)
}

func decode(r io.Reader, role string, body any) error {
	raw, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return fmt.Errorf("hand-off to %s: %w", role, err)
	}
	if len(raw) == 0 {
		return ErrNone
	}
	if len(raw) > maxBytes {
		return fmt.Errorf("hand-off to %s: message over %d bytes", role, maxBytes)
	}
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("hand-off to %s: %w", role, err)
	}
	if e.Version != version {
		return fmt.Errorf("hand-off to %s: message version %d, this cpc understands %d; was cpc replaced while it ran?", role, e.Version, version)
	}
	if e.Role != role {
		return fmt.Errorf("hand-off: message is for %q, this process is %q", e.Role, role)
	}
	dec := json.NewDecoder(bytes.NewReader(e.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(body); err != nil {
		return fmt.Errorf("hand-off to %s: %w", role, err)
	}
	return nil
}
