// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/host"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// information is what cpc info shows, in docker's fields.
type information struct {
	Name, ServerVersion, KernelVersion, OperatingSystem, OSType, Architecture string
	NCPU                                                                      int
	MemTotal                                                                  int64 // bytes

	Containers, ContainersRunning, ContainersPaused, ContainersStopped, Images int

	Driver, DockerRootDir, DefaultRuntime string
	CgroupDriver, CgroupVersion           string
	MemoryLimit, SwapLimit, PidsLimit     bool
	CPUCfsQuota                           bool `json:"CpuCfsQuota"`
	CPUCfsPeriod                          bool `json:"CpuCfsPeriod"`
	CPUSet                                bool
	SecurityOptions, Warnings             []string `json:",omitzero"`
	Rootless                              bool
	noInfoFields
}

func (a systemCommands) infoCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "info [OPTIONS]", Short: "Show information about the system", Args: wants(0, 0),
		Long: "Show information about the system: the machine, and the number of sandboxes and images.\nTo check whether the machine is ready to run sandboxes, use cpc doctor.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.information(cmd)
			if err != nil {
				return err
			}
			if l.json || l.format != "" {
				return printOne(cmd.OutOrStdout(), l, i)
			}
			return i.print(cmd.OutOrStdout())
		},
	}
	l.registerShort(cmd, "f")
	return cmd
}

func (a systemCommands) information(cmd *cobra.Command) (information, error) {
	e, err := a.engine()
	if err != nil {
		return information{}, err
	}
	m := host.Describe()
	i := information{
		Name: m.Name, ServerVersion: version(), KernelVersion: m.Kernel, OperatingSystem: m.System, OSType: "linux",
		Architecture: m.Architecture, NCPU: m.CPUs, MemTotal: m.Memory, Driver: "overlay", DockerRootDir: e.Dirs.Data,
		DefaultRuntime: e.Runtime, SecurityOptions: []string{"name=seccomp,profile=builtin"},
	}
	if err := i.limits(e); err != nil {
		return i, err
	}
	entries, err := e.Set.List()
	if err != nil {
		return i, err
	}
	for _, entry := range entries {
		i.Containers++
		switch entry.Record.Status {
		case record.Running:
			i.ContainersRunning++
		case record.Paused:
			i.ContainersPaused++
		case record.Created, record.Exited, record.Dead:
			i.ContainersStopped++
		}
	}
	return i, a.withStore(func(store *rootfs.Store) error {
		images, damaged := store.Images(cmd.Context())
		i.Images = len(images)
		return damaged
	})
}

// limits fills in what can be enforced for the caller.
func (i *information) limits(e *sandbox.Engine) error {
	h, err := cgroups.Probe()
	if err != nil {
		return err
	}
	for _, c := range h.Controllers {
		switch c {
		case "memory":
			i.MemoryLimit, i.SwapLimit = true, h.SwapLimit
		case "pids":
			i.PidsLimit = true
		case "cpu":
			i.CPUCfsQuota, i.CPUCfsPeriod = true, true
		case "cpuset":
			i.CPUSet = true
		}
	}
	i.CgroupDriver, i.CgroupVersion = string(h.Driver), "1"
	if h.Layout == cgroups.Unified {
		i.CgroupVersion = "2"
	}
	if !h.Privileged {
		i.Rootless = true
		i.SecurityOptions = append(i.SecurityOptions, "name=rootless")
	}
	if e.IDs.Reason != nil {
		i.Warnings = append(i.Warnings, "sandboxes have one user id only: "+e.IDs.Reason.Error())
	}
	return nil
}

func (i information) print(w io.Writer) error {
	var failed error
	for _, line := range [][2]string{
		{"Version", i.ServerVersion},
		{"Sandboxes", fmt.Sprintf("%d (%d running, %d paused, %d ended)", i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped)},
		{"Images", fmt.Sprint(i.Images)},
		{"Stored in", i.DockerRootDir},
		{"OCI runtime", i.DefaultRuntime},
		{"Cgroups", fmt.Sprintf("version %s, driver %s", i.CgroupVersion, i.CgroupDriver)},
		{"Host name", i.Name},
		{"System", i.OperatingSystem + ", Linux " + i.KernelVersion + ", " + i.Architecture},
		{"CPUs", fmt.Sprint(i.NCPU)},
		{"Memory", units.BytesSize(float64(i.MemTotal))},
		{"Warnings", strings.Join(i.Warnings, "; ")},
	} {
		if line[1] != "" {
			_, err := fmt.Fprintf(w, "%s: %s\n", line[0], line[1])
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
