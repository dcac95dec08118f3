// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/internal/outbound"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// newContextSource gets contexts as the rules allow.
func newContextSource(ctx context.Context, store *rootfs.Store, spec policy.Spec) (*build.ContextSource, error) {
	rules, err := spec.Fetches()
	if err != nil {
		return nil, err
	}
	connect, err := connectCommand()
	return &build.ContextSource{
		Store: store, Stdin: stdin(ctx), Agent: os.Getenv("SSH_AUTH_SOCK"), Egress: rules, Connect: connect,
	}, err
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
