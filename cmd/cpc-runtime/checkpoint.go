// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"

	"github.com/claude-pocket-console/cpc/runtime"
)

func checkpointCommand() command {
	return command{
		name: "checkpoint", args: "ID", min: 1, max: 1,
		about: "Write the processes of a container to files (needs criu)",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var o runtime.CriuOptions
			criuFlags(fs, &o)
			fs.StringVar(&o.ParentImage, "parent-path", "", "earlier dump, a `dir` relative to --image-path")
			fs.BoolVar(&o.LeaveRunning, "leave-running", false, "do not end the container")
			fs.BoolVar(&o.TcpSkipInFlight, "tcp-skip-in-flight", false, "leave TCP connections out that are being made")
			fs.BoolVar(&o.LinkRemap, "link-remap", false, "keep files without a name, where possible")
			fs.BoolVar(&o.PreDump, "pre-dump", false, "write memory only, do not end the container")
			fs.IntVar(&o.StatusFd, "status-fd", -1, "criu writes a NUL to descriptor `N` when it serves pages")
			fs.StringVar(&o.PageServerAddress, "page-server", "", "`ADDRESS:PORT` of the page server")
			return func(g global, args []string) (int, error) { return 0, g.Checkpoint(args[0], o) }
		},
	}
}

func restoreCommand() command {
	return command{
		name: "restore", args: "ID", min: 1, max: 1,
		about: "Make a container from a checkpoint (needs criu)",
		setup: func(fs *flag.FlagSet) func(global, []string) (int, error) {
			var (
				criu runtime.CriuOptions
				o    runtime.RunOptions
			)
			criuFlags(fs, &criu)
			fs.StringVar(&criu.LsmProfile, "lsm-profile", "", "security profile to restore with, `TYPE:NAME`")
			fs.StringVar(&criu.LsmMountContext, "lsm-mount-context", "", "security `context` to mount with")
			createFlags(fs, &o.CreateOptions)
			fs.BoolVar(&o.NoSubreaper, "no-subreaper", false, "do not adopt the container's orphans")
			detach := flagAlias(fs, "detach", "d", "do not wait")
			return func(g global, args []string) (int, error) {
				o.Detach = *detach
				return g.Restore(args[0], criu, o)
			}
		},
	}
}

func criuFlags(fs *flag.FlagSet, o *runtime.CriuOptions) {
	fs.StringVar(&o.ImagesDirectory, "image-path", "", "`dir` of criu's files (default: checkpoint in the current one)")
	fs.StringVar(&o.WorkDirectory, "work-path", "", "`dir` of criu's logs")
	fs.BoolVar(&o.TcpEstablished, "tcp-established", false, "allow open TCP connections")
	fs.BoolVar(&o.ExternalUnixConnections, "ext-unix-sk", false, "allow unix sockets to the outside")
	fs.BoolVar(&o.ShellJob, "shell-job", false, "allow a terminal of the outside")
	fs.BoolVar(&o.FileLocks, "file-locks", false, "allow file locks")
	fs.BoolVar(&o.LazyPages, "lazy-pages", false, "fetch memory when it is used")
	fs.BoolVar(&o.AutoDedup, "auto-dedup", false, "drop memory that an earlier dump has")
	fs.StringVar(&o.ManageCgroupsMode, "manage-cgroups-mode", "", "soft, full, strict or ignore `mode`")
	listFlag(fs, &o.EmptyNamespaces, "do not restore what is in this `namespace`: network", "empty-ns")
}
