// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"maps"

	"github.com/spf13/cobra"
)

const (
	oneSandbox    = "cpc runs sandboxes, one by one. Start each with: cpc run"
	noSecondStart = "a sandbox is made and started at once. Run it with: cpc run -d --name NAME IMAGE"
	copyWithTar   = "copy with tar, in and out:\n" +
		"  tar c DIRECTORY | cpc exec -i NAME tar x\n" +
		"  cpc exec NAME tar c DIRECTORY | tar x"
)

// commandsNotOffered are docker's and podman's commands that cpc has not, and
// what to do instead.
func commandsNotOffered() map[string]string {
	all := map[string]string{
		"compose": oneSandbox, "stack": oneSandbox, "swarm": oneSandbox, "service": oneSandbox, "node": oneSandbox, "config": oneSandbox, "kube": oneSandbox, "pod": noPods, "play": oneSandbox, "generate": "systemd runs sandboxes by units that one writes: docs/systemd.md",
		"volume": noHostFiles, "secret": "give it on the standard input (cpc run -i), with --env-file, or to a build with --secret", "context": noRemote, "plugin": "cpc has no plugins", "machine": noRemote,
		"network":  "each sandbox has a network of its own. See and change what it reaches with: cpc net",
		"manifest": "an image for several platforms is built with: cpc build --platform linux/amd64,linux/arm64; its parts are shown by: cpc inspect IMAGE",
		"trust":    noTrust, "checkpoint": "a sandbox is not saved and restored. cpc-runtime can: docs/oci.md",
		"auto-update": noRestart, "healthcheck": noHealth, "untag": "remove the name with: cpc rmi NAME", "unshare": "run what needs it in a sandbox", "farm": noRemote, "artifact": "what a registry keeps about an image is listed by: cpc referrers IMAGE", "quadlet": "systemd runs sandboxes by units that one writes: docs/systemd.md",
	}
	maps.Copy(all, sandboxCommandsNotOffered())
	return all
}

// sandboxCommandsNotOffered are those that docker container has as well.
func sandboxCommandsNotOffered() map[string]string {
	return map[string]string{
		"create": noSecondStart, "start": noSecondStart, "restart": noRestart,
		"rename": "a sandbox keeps its name, by which its record, log and events are found. Choose it at the start: cpc run --name NAME",
		"cp":     copyWithTar,
		"commit": "an image comes from a Dockerfile: cpc build. Or from a tar: cpc export NAME | cpc import - IMAGE",
		"port":   noPorts,
		"diff":   "see what a sandbox has written with: cpc exec NAME find / -xdev -newer /etc/hostname; it writes to memory and to its disk only",
		"mount":  "see its files with: cpc exec NAME ls, or get them with: cpc export NAME", "unmount": "cpc mounts nothing for others",
		"init": noSecondStart, "restore": "a sandbox is not saved and restored", "checkpoint": "a sandbox is not saved and restored. cpc-runtime can: docs/oci.md", "clone": noSecondStart, "cleanup": "cpc removes what a sandbox leaves by itself", "exists": "ask with: cpc inspect NAME > /dev/null", "runlabel": "run what the label says yourself: cpc inspect -f '{{.Config.Labels}}' IMAGE",
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
