// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/logfile"
	"github.com/claude-pocket-console/cpc/sandbox/process"
)

// openNetwork makes the gateway of a sandbox whose network is an allowlist,
// and returns the names that the sandbox is given. Nothing is connected yet.
func (m *monitor) openNetwork() (process.Names, error) {
	r, o := m.entry.Record, m.task.Options
	if o.Network != bundle.NetworkAllowlist || m.task.DryRun {
		return process.NamesFor(r.Settings.Hostname, o.Network), nil
	}
	rules, err := policy.New(m.task.Egress, nil)
	if err != nil {
		return process.Names{}, fmt.Errorf("egress: %w", err)
	}
	record, err := m.recordDecisions()
	if err != nil {
		return process.Names{}, err
	}
	m.net, err = netns.Open(netns.Options{Sandbox: r.ID, Policy: rules, Events: record})
	if err != nil {
		return process.Names{}, err
	}
	m.later(m.net.Close)
	plan := m.net.Plan()
	resolv, err := plan.ResolvConf(nil)
	return process.Names{Hosts: plan.Hosts(r.Settings.Hostname, nil), ResolvConf: resolv}, err
}

// networkLog is where the gateway's decisions are kept, below the sandbox's
// data: entries of a log, each one decision as JSON.
const networkLog = "network"

// recordDecisions returns what keeps the gateway's decisions, within the size
// of a log. A full disk loses decisions, not the sandbox.
func (m *monitor) recordDecisions() (func(event.Event), error) {
	dir := filepath.Join(m.entry.DataDir, networkLog)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("network log: %w", err)
	}
	log, err := logfile.Create(dir)
	if err != nil {
		return nil, err
	}
	m.later(log.Close)
	return func(e event.Event) {
		if line, err := json.Marshal(e); err == nil {
			_ = log.Append(logfile.Stdout, line)
		}
	}, nil
}

// connectNetwork connects the sandbox, which exists and does not run yet.
func (m *monitor) connectNetwork() error {
	if m.net == nil {
		return nil
	}
	s, err := netns.OfProcess(m.pid)
	if err != nil {
		return err
	}
	return errors.Join(m.net.Connect(s), s.Close())
}
