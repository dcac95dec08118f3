// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	noHostFiles = "a sandbox sees no files of the host. Put them into the image (COPY), or into a running sandbox:\n" +
		"  tar c DIRECTORY | cpc exec -i NAME tar x"
	noPorts       = "nothing reaches into a sandbox. Ask from inside instead: cpc exec NAME curl http://127.0.0.1:PORT"
	noAddress     = "every sandbox has the same address in a network of its own, where nobody else is. See what it reaches with: cpc net show NAME"
	noDevices     = "a sandbox has no devices of the host"
	noShared      = "a sandbox shares no namespaces, with the host or others; each has its own"
	noRestart     = "a sandbox that has ended is not started again. Run a new one, or let systemd do it: docs/systemd.md"
	oneSandbox    = "cpc runs sandboxes, one by one. Start each with: cpc run"
	noSecondStart = "a sandbox is made and started at once. Run it with: cpc run -d --name NAME IMAGE"
)

// flagsNotOffered are flags of docker run that a sandbox has not, on purpose,
// and what to do instead.
func flagsNotOffered() map[string]string {
	return map[string]string{
		"volume": noHostFiles, "v": noHostFiles, "mount": noHostFiles, "volumes-from": noHostFiles,
		"publish": noPorts, "p": noPorts, "publish-all": noPorts, "P": noPorts, "link": noPorts,
		"ip": noAddress, "ip6": noAddress, "mac-address": noAddress, "network-alias": noAddress, "net-alias": noAddress, "link-local-ip": noAddress,
		"device": noDevices, "gpus": noDevices, "device-cgroup-rule": noDevices,
		"pid": noShared, "ipc": noShared, "uts": noShared, "userns": noShared, "cgroupns": noShared,
		"restart":          noRestart,
		"privileged":       "a sandbox never has the host's rights. Give it single ones with --cap-add and --security-opt",
		"cgroup-parent":    "cpc chooses the cgroup. To bound several together, run them in a slice of systemd: docs/systemd.md",
		"sysctl":           "kernel parameters are those that cpc chooses",
		"health-cmd":       "nothing checks a sandbox while it runs. Do so with: cpc exec NAME COMMAND",
		"oom-kill-disable": "what is out of memory ends. Give it more with --memory",
	}
}

// commandsNotOffered are docker's commands that cpc has not, and what to do
// instead.
func commandsNotOffered() map[string]string {
	return map[string]string{
		"compose": oneSandbox, "stack": oneSandbox, "swarm": oneSandbox, "service": oneSandbox, "node": oneSandbox,
		"create": noSecondStart, "start": noSecondStart, "restart": noRestart,
		"cp": "copy with tar, in and out:\n" +
			"  tar c DIRECTORY | cpc exec -i NAME tar x\n" +
			"  cpc exec NAME tar c DIRECTORY | tar x",
		"commit":  "an image comes from a Dockerfile: cpc build. Or from a tar: cpc import FILE IMAGE",
		"volume":  noHostFiles,
		"port":    noPorts,
		"network": "each sandbox has a network of its own. See and change what it reaches with: cpc net",
	}
}

// strangers are commands that say why they are none.
func strangers() []*cobra.Command {
	var all []*cobra.Command
	for name, why := range commandsNotOffered() {
		all = append(all, &cobra.Command{
			Use: name, Short: "Not offered", Hidden: true, DisableFlagParsing: true, Args: cobra.ArbitraryArgs,
			RunE: func(*cobra.Command, []string) error {
				return usageError{errors.New("not offered: " + why)}
			},
		})
	}
	return all
}

// notOffered words the refusal of a flag that people know from docker.
func notOffered(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	if cmd.Name() != "run" {
		return nil
	}
	name := unknown.GetSpecifiedName()
	why, ok := flagsNotOffered()[name]
	if !ok {
		return nil
	}
	return usageError{errors.New(dashed(name) + " is not offered: " + why)}
}

func dashed(flag string) string { return strings.Repeat("-", min(len(flag), 2)) + flag }
