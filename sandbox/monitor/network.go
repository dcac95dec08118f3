// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// outlet is the sandbox's network: the gateway of an allowlist, while the sandbox
// has it. openOutlet makes the gateway, close takes it down.
type outlet struct {
	refused network.Refusals
	undo    cleanups

	watching sync.Mutex          // guards watchers
	watchers []*network.Refusals // of further programs that run

	mu  sync.Mutex // serialises requests with each other and with the end
	net *netns.Net // nil without an allowlist, and at the end
}

// openOutlet makes the gateway of a sandbox whose network is an allowlist. Nothing is
// connected yet.
func openOutlet(t *Task, h *history, budget *cpubudget.Budget) (*outlet, error) {
	o := &outlet{}
	if t.options().Network != bundle.NetworkAllowlist || t.DryRun {
		return o, nil
	}
	record, err := o.recordDecisions(h)
	if err == nil {
		o.net, err = t.Record.Asked.Network.Open(t.Record.ID, record, budget)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.undo.later(o.closeNet)
	return o, nil
}

func (o *outlet) close() error { return o.undo.run() }

func (o *outlet) closeNet() error {
	o.mu.Lock()
	n := o.net
	o.net = nil
	o.mu.Unlock()
	return n.Close()
}

// watch returns what collects the refusals from now on, until unwatch. It collects
// those of all programs: a connection does not say whose it is.
func (o *outlet) watch() *network.Refusals {
	r := &network.Refusals{}
	o.watching.Lock()
	defer o.watching.Unlock()
	o.watchers = append(o.watchers, r)
	return r
}

func (o *outlet) unwatch(r *network.Refusals) {
	o.watching.Lock()
	defer o.watching.Unlock()
	o.watchers = slices.DeleteFunc(o.watchers, func(w *network.Refusals) bool { return w == r })
}

func (o *outlet) tellWatchers(e event.Event) {
	o.watching.Lock()
	defer o.watching.Unlock()
	for _, w := range o.watchers {
		w.Note(e)
	}
}

// connect connects the sandbox, which exists and does not run yet.
func (o *outlet) connect(pid int) error {
	if o.net == nil {
		return nil
	}
	return network.Connect(o.net, pid)
}

// recordDecisions returns what keeps the gateway's decisions, within the size
// of a log. A full disk loses decisions, not the sandbox.
func (o *outlet) recordDecisions(h *history) (network.Record, error) {
	dir := filepath.Join(h.entry.DataDir, network.LogDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return network.Record{}, fmt.Errorf("network log: %w", err)
	}
	log, err := network.CreateLog(dir)
	if err != nil {
		return network.Record{}, err
	}
	o.undo.later(log.Close)
	tell := denials(h)
	return network.Record{Sums: log.Sums, Event: func(e event.Event) {
		log.Append(e)
		o.refused.Note(e)
		o.tellWatchers(e)
		if e.Verdict == event.Denied {
			tell(e)
		}
	}}, nil
}

// Denials that are told of in the journal of all sandboxes, whose room one
// sandbox must not use up: so many at once, and one a minute. The log has all.
const (
	denialsAtOnce = 10
	denialsEvery  = time.Minute
)

// denials returns what tells of denied decisions in the journals. It is called
// by one at a time.
func denials(h *history) func(event.Event) {
	limit := rate.NewLimiter(rate.Every(denialsEvery), denialsAtOnce)
	var untold uint64
	return func(e event.Event) {
		if !limit.Allow() {
			untold += max(e.Count, 1)
			return
		}
		more := attributes{"decision": string(e.Kind), "reason": e.Reason, "host": e.Name}
		if e.Name == "" && e.Addr.IsValid() {
			more["host"] = e.Addr.String()
		}
		if e.Port != 0 {
			more["port"] = strconv.Itoa(int(e.Port))
		}
		if untold > 0 {
			more["untold"] = strconv.FormatUint(untold, 10)
		}
		untold = 0
		h.note("network-denied", more)
	}
}

// errNoPolicy answers requests about a network that has no policy.
var errNoPolicy = errors.New("the sandbox's network is not an allowlist: it has no policy")

// serveNet answers a request about the network.
func (m *monitor) serveNet(c *wire.Conn, req wire.NetRequest, by string) error {
	state, err := m.outlet.answer(req)
	if err != nil {
		return err
	}
	if change, ok := state.(network.Change); ok && change.Changed {
		m.history.note("network-policy", attributes{
			"version": strconv.Itoa(change.Version), "change": req.Do, "rules": strings.Join(req.Rules, " "), "cut": strconv.Itoa(change.Cut),
		}.by(by))
	}
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return c.WriteJSON(wire.Reply, wire.ReplyBody{State: raw})
}

func (o *outlet) answer(req wire.NetRequest) (any, error) {
	if req.Do == wire.NetTest {
		return o.test(req)
	}
	return o.do(req)
}

// test asks the host's resolver, which may take its time: others do not wait.
func (o *outlet) test(req wire.NetRequest) (any, error) {
	o.mu.Lock()
	n := o.net
	o.mu.Unlock()
	if n == nil {
		return nil, errNoPolicy
	}
	return n.Test(context.Background(), req.Host, req.Port)
}

func (o *outlet) do(req wire.NetRequest) (any, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.net == nil {
		return nil, errNoPolicy
	}
	switch req.Do {
	case wire.NetShow:
		return o.net.Status()
	case wire.NetAllow, wire.NetDeny, wire.NetRemove:
		return o.change(req)
	}
	return nil, fmt.Errorf("%w: %q about the network", errBadRequest, req.Do)
}

// change puts the next version of the policy in force.
func (o *outlet) change(req wire.NetRequest) (network.Change, error) {
	old := o.net.Policy()
	next, err := changed(old, req)
	if err != nil {
		return network.Change{}, err
	}
	c := network.Change{Version: old.Version()}
	if next == nil {
		return c, nil
	}
	if c.Cut, err = o.net.SetPolicy(next); err != nil {
		return c, err
	}
	c.Version, c.Changed = next.Version(), true
	for _, r := range next.Ineffective() {
		c.Ineffective = append(c.Ineffective, r.String())
	}
	return c, nil
}

// changed returns the next version, or nil if the rules are so already.
func changed(p *policy.Policy, req wire.NetRequest) (*policy.Policy, error) {
	switch req.Do {
	case wire.NetAllow:
		return p.Allowing(req.Rules)
	case wire.NetDeny:
		return p.Denying(req.Rules)
	}
	return p.Without(req.Rules...)
}
