// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// Network asks a running sandbox's monitor about its network. The answer's
// type is by request: netns.Status, gateway.Answer or network.Change.
func (e *Engine) Network(ctx context.Context, name string, req wire.NetRequest, answer any) error {
	s, err := e.open(ctx, name, wire.RequestBody{Op: wire.OpNet, Net: &req})
	if err != nil {
		return err
	}
	defer s.Close()
	t, payload, err := s.conn.ReadFrame()
	if err != nil {
		return s.unanswered(e, err)
	}
	if t == wire.Failure {
		return failure(payload)
	}
	var reply wire.ReplyBody
	if err := wire.Decode(t, payload, &reply); err != nil {
		return err
	}
	return json.Unmarshal(reply.State, answer)
}

// ErrNoDecisions reports a sandbox whose network was no allowlist.
var ErrNoDecisions = hint.New("the sandbox's network is not an allowlist: there are no decisions",
	"Only sandboxes with --network allowlist (the default) have decisions.")

// Decisions calls each with the decisions of a sandbox's network that are kept,
// in order; with follow also with those that come, until the sandbox has ended.
func (e *Engine) Decisions(ctx context.Context, name string, follow bool, each func(event.Event) error) error {
	entry, err := e.Set.Find(name)
	if err != nil {
		return err
	}
	dir := filepath.Join(entry.DataDir, network.LogDir)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoDecisions, name)
	}
	ended := func() bool { return !follow || !entry.Attended() }
	if err := network.ReadLog(ctx, dir, ended, each); err != nil {
		return fmt.Errorf("network log of %s: %w", name, err)
	}
	if entry.Attended() {
		return nil
	}
	if err := network.ReadSums(dir, each); err != nil {
		return fmt.Errorf("network log of %s: sums: %w", name, err)
	}
	return nil
}
