// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/internal/address"
	"github.com/claude-pocket-console/cpc/internal/outbound"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// buildRules are the rules of RUN steps for ADD: what they deny, and which
// addresses they grant that are not public. What is public needs no rule.
type buildRules struct{ p *policy.Policy }

func newBuildRules(spec policy.Spec) (outbound.Rules, error) {
	p, err := spec.Policy()
	return buildRules{p}, err
}

// newContextSource gets contexts as the rules allow.
func newContextSource(ctx context.Context, store *rootfs.Store, spec policy.Spec) (*build.ContextSource, error) {
	rules, err := newBuildRules(spec)
	if err != nil {
		return nil, err
	}
	connect, err := connectCommand()
	return &build.ContextSource{
		Store: store, Stdin: stdin(ctx), Agent: os.Getenv("SSH_AUTH_SOCK"), Egress: rules, Connect: connect,
	}, err
}

// Refuses implements outbound.Rules.
func (r buildRules) Refuses(host string, port uint16) string {
	h, err := policy.ParseHost(host)
	if err != nil {
		return "it is no name of a host"
	}
	if r.p.Decide(h, port).Reason == policy.ReasonDeny {
		return policy.ReasonDeny
	}
	for _, l := range r.p.Limits() {
		if !l.Decide(h, port).Allowed {
			return policy.ReasonLimit
		}
	}
	return ""
}

// Denies implements outbound.Rules.
func (r buildRules) Denies(to netip.AddrPort) string {
	if r.p.Denies(to.Addr(), to.Port()) {
		return policy.ReasonDeny
	}
	return ""
}

// Grants implements outbound.Rules.
func (r buildRules) Grants(_ string, to netip.AddrPort, block address.Block) bool {
	return r.p.Grants(to.Addr(), to.Port(), block.Prefix)
}

const connectName = "git-connect"

// connectCommand is what git runs for connections that it makes itself.
func connectCommand() (string, error) {
	self, err := os.Executable()
	return "'" + strings.ReplaceAll(self, "'", `'\''`) + "' " + connectName, err
}

// gitConnectCommand is for git, not for people.
func (a buildCommands) gitConnectCommand() *cobra.Command {
	return &cobra.Command{
		Use: connectName + " HOST PORT", Short: "Connect git to a host, within a build", Hidden: true, Args: wants(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			proxy, ok := os.LookupEnv(build.ConnectEnv)
			if !ok {
				return usageError{fmt.Errorf("%s: only cpc build uses this", connectName)}
			}
			return outbound.Through(cmd.Context(), proxy, net.JoinHostPort(args[0], args[1]), stdin(cmd.Context()), os.Stdout)
		},
	}
}
