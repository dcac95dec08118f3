// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"path/filepath"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// bindDevices has a container that may make no devices, being in a user namespace,
// get the host's by bind mounts without set-user-ID and execution, as crun has
// them. libcontainer's own mounts have the flags of the host's /dev.
func bindDevices(config *configs.Config) {
	if !userns.RunningInUserNS() && !config.Namespaces.Contains(configs.NEWUSER) {
		return
	}
	kept := config.Devices[:0:0]
	for _, d := range config.Devices {
		if d.Path == "" || d.Type != 'c' && d.Type != 'b' || filepath.Clean(d.Path) == "/dev/ptmx" {
			kept = append(kept, d)
			continue
		}
		config.Mounts = append(config.Mounts, &configs.Mount{
			Source: d.Path, Destination: d.Path, Device: "bind", Flags: unix.MS_BIND | unix.MS_NOSUID | unix.MS_NOEXEC,
		})
	}
	config.Devices = kept
}
