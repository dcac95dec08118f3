// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	goruntime "runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/host"
)

// version is that of the module this program was built from; the go command
// records the commit or tag.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return strings.Trim(info.Main.Version, "()")
}

// versions are docker's fields. The server is cpc as well: what a command does,
// it does itself.
type versions struct {
	Client clientVersion
	Server serverVersion
}

type clientVersion struct {
	Platform                                      struct{ Name string }
	Version, GoVersion, Os, Arch                  string
	ApiVersion, DefaultAPIVersion, Context        string `json:",omitzero"` //nolint:revive // docker's names
	GitCommit, BuildTime, Built, OsArch, Revision string `json:",omitzero"`
	Experimental                                  bool   `json:",omitzero"`
}

type serverVersion struct {
	clientVersion
	KernelVersion string
	MinAPIVersion string              `json:",omitzero"`
	Components    []map[string]string `json:",omitzero"`
}

func versionsOf(m host.Machine) versions {
	c := clientVersion{Version: version(), GoVersion: goruntime.Version(), Os: goruntime.GOOS, Arch: goruntime.GOARCH}
	c.Platform.Name, c.OsArch = "cpc", c.Os+"/"+c.Arch
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				c.GitCommit, c.Revision = s.Value, s.Value
			case "vcs.time":
				c.BuildTime, c.Built = s.Value, s.Value
			}
		}
	}
	return versions{c, serverVersion{clientVersion: c, KernelVersion: m.Kernel}}
}

func (a systemCommands) versionCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "version [OPTIONS]", Short: "Show the version of cpc", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if l.json || l.format != "" {
				return printOne(cmd.OutOrStdout(), l, versionsOf(host.Describe()))
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "cpc version %s\n", version())
			return err
		},
	}
	l.registerShort(cmd, "f")
	return cmd
}
