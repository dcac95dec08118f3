// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package step

import (
	"io"

	"github.com/claude-pocket-console/cpc/internal/cpubudget"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
)

// gate is the network of one step, if that is an allowlist.
type gate struct {
	net     *netns.Net // nil otherwise
	asked   []string
	refused network.Refusals
}

// openGate makes the step's network, which the caller closes.
func (s *Runner) openGate(id, mode string) (*gate, error) {
	g := &gate{asked: s.network.Asked}
	if mode != bundle.NetworkAllowlist {
		return g, nil
	}
	var err error
	budget := cpubudget.New(network.Rate(s.options.Limits.Processors()))
	g.net, err = s.network.Open(id, network.Record{Event: g.refused.Note}, budget)
	return g, err
}

func (g *gate) close() error {
	if g.net == nil {
		return nil
	}
	return g.net.Close()
}

// tell says what was refused to a step that failed.
func (g *gate) tell(w io.Writer) {
	if w != nil {
		network.TellRefusals(w, g.refused.List(), network.Hint{Who: "this step", Command: "cpc build", Asked: g.asked})
	}
}
