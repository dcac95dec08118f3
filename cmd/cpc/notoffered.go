// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"maps"

	"github.com/spf13/cobra"
)

const (
	oneSandbox    = "cpc runs single sandboxes. Start each with: cpc run"
	noSecondStart = "cpc creates and starts a sandbox in one step: cpc run -d --name NAME IMAGE"
)

// commandsNotOffered are docker's and podman's commands that cpc has not, and
// what to do instead.
func commandsNotOffered() map[string]string {
	all := map[string]string{
		"compose": oneSandbox, "stack": oneSandbox, "swarm": oneSandbox, "service": oneSandbox, "node": oneSandbox, "config": oneSandbox, "kube": oneSandbox, "pod": noPods, "play": oneSandbox, "generate": "write a systemd unit instead: docs/systemd.md",
		"volume": noHostFiles, "secret": "pass it on standard input (cpc run -i), with --env-file, or to a build with --secret", "context": noRemote, "plugin": "cpc has no plugins", "machine": noRemote,
		"network":  "each sandbox has its own network. Show and change what it can reach with: cpc net",
		"manifest": "build a multi-platform image with: cpc build --platform linux/amd64,linux/arm64. Show its parts with: cpc inspect IMAGE",
		"trust":    noTrust, "checkpoint": "sandboxes cannot be checkpointed; containers of cpc-runtime can: docs/oci.md",
		"auto-update": noRestart, "healthcheck": noHealth, "untag": "remove the name with: cpc rmi NAME", "unshare": "run the command in a sandbox", "farm": noRemote, "artifact": "list the referrers of an image with: cpc referrers IMAGE", "quadlet": "write a systemd unit instead: docs/systemd.md",
	}
	maps.Copy(all, sandboxCommandsNotOffered())
	return all
}

// sandboxCommandsNotOffered are those that docker container has as well.
func sandboxCommandsNotOffered() map[string]string {
	return map[string]string{
		"create": noSecondStart, "start": noSecondStart, "restart": noRestart,
		"rename": "the name of a sandbox cannot change. Set it at the start: cpc run --name NAME",
		"commit": "build an image from a Dockerfile with: cpc build. Or create it from a tar: cpc export NAME | cpc import - IMAGE",
		"port":   noPorts,
		"diff":   "list the files that a sandbox has written with: cpc exec NAME find / -xdev -newer /etc/hostname",
		"mount":  "list its files with: cpc exec NAME ls. Export them with: cpc export NAME", "unmount": "cpc does not mount the files of a sandbox on the host",
		"init": noSecondStart, "restore": "sandboxes cannot be checkpointed", "checkpoint": "sandboxes cannot be checkpointed; containers of cpc-runtime can: docs/oci.md", "clone": noSecondStart, "cleanup": "cpc cleans up by itself", "exists": "use the exit status of: cpc inspect NAME > /dev/null", "runlabel": "run the command in the label yourself: cpc inspect -f '{{.Config.Labels}}' IMAGE",
	}
}

// strangersOf are commands that say why they are none.
func strangersOf(names map[string]string) []*cobra.Command {
	var all []*cobra.Command
	for name, why := range names {
		all = append(all, &cobra.Command{
			Use: name, Short: "Not offered", Hidden: true, DisableFlagParsing: true, Args: cobra.ArbitraryArgs,
			RunE: func(*cobra.Command, []string) error {
				return usageError{errors.New("not offered: " + why)}
			},
		})
	}
	return all
}
