// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/userns"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/rootfs"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
	"github.com/claude-pocket-console/cpc/rootfs/store"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/confine"
	"github.com/claude-pocket-console/cpc/sandbox/disk"
	"github.com/claude-pocket-console/cpc/sandbox/monitor"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/process"
	"github.com/claude-pocket-console/cpc/sandbox/record"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
	"github.com/claude-pocket-console/cpc/sbom"
)

// Exit statuses of cpc itself; a sandbox's program has its own.
const (
	defaultFailure = 1
	usageFailure   = 125
	notExecutable  = 126
	notFound       = 127
)

// remedy is the exit status for an error, and what to do about it.
type remedy struct {
	err  error
	code int
	hint string
}

// hints say what to do about an error that a person can do something about.
func hints() []remedy {
	return append(scanHints(), []remedy{
		{process.ErrNotFound, notFound, "Look what the image has, for example with: cpc run --rm IMAGE ls /usr/bin"},
		{process.ErrNotExecutable, notExecutable, "The file is there but cannot be run: check its mode and, for a script, its first line."},
		{process.ErrStopped, defaultFailure, "A process of user 0 in the sandbox does that. End the sandbox with: cpc kill NAME"},
		{process.ErrWorkdir, notExecutable, "Name one that is there with --workdir, or make it with a WORKDIR in the Dockerfile."},
		{record.ErrNameInUse, defaultFailure, "Choose another --name, or remove that sandbox with: cpc rm -f NAME"},
		{record.ErrNotFound, defaultFailure, "See which there are with: cpc ps -a"},
		{record.ErrAmbiguous, defaultFailure, "Give more of the id; see: cpc ps -a"},
		{sandbox.ErrNotRunning, defaultFailure, "See how it ended with: cpc inspect NAME"},
		{sandbox.ErrMonitorGone, defaultFailure, "What it left is removed by the next command, such as: cpc ps -a"},
		{sandbox.ErrNoRuntime, defaultFailure, "Install cpc-runtime beside cpc (make install), or name it with --runtime PATH."},
		{errNoSuchThing, defaultFailure, "See which there are with: cpc ps -a, and: cpc images"},
		{errNoPS, defaultFailure, "Install it: sudo apt-get install procps"},
		{monitor.ErrPaused, defaultFailure, "Let it go on with: cpc unpause NAME"},
		{cgroups.ErrNoCgroup, defaultFailure, "The sandbox was started where its limits cannot be enforced; see: cpc inspect NAME"},
		{sandbox.ErrRunning, defaultFailure, "End it first with: cpc stop NAME; or end and remove it with: cpc rm -f NAME"},
		{registry.ErrDenied, defaultFailure, "Check both. Some registries want a token instead of the password; see docs/registry.md."},
		{rootfs.ErrPushDenied, defaultFailure, "Log in with: cpc login SERVER, as a user who may write there; some registries want the repository made first."},
		{rootfs.ErrRateLimit, defaultFailure, "Wait, log in with: cpc login (limits for users are higher), or name a mirror in config.toml; see docs/registry.md."},
		{rootfs.ErrSentAway, defaultFailure, "If its storage or its token server is there, name that host in config.toml:\n  [registries.\"HOST:PORT\"]\nSee docs/registry.md."},
		{rootfs.ErrUntrusted, defaultFailure, "Name its authority (ca = \"FILE\") or, if you must, call it insecure in config.toml:\n  [registries.\"HOST:PORT\"]\n  insecure = true\nSee docs/registry.md."},
		{rootfs.ErrUnreachable, defaultFailure, "Check the name and the network, or bring the image in as a tar: cpc import FILE IMAGE"},
		{rootfs.ErrNoRegistry, defaultFailure, "Check the host and the port in the image's name."},
		{rootfs.ErrFailing, defaultFailure, "Try again later, or name a mirror in config.toml; see docs/registry.md."},
		{rootfs.ErrIncomplete, defaultFailure, "Have it pushed again, or name a mirror in config.toml; see docs/registry.md."},
		{rootfs.ErrNoPlatform, defaultFailure, "Choose one that is there, which then runs through emulation, with: --platform OS/ARCH"},
		{rootfs.ErrNotInRegistry, defaultFailure, "Check the name; the tags of a repository are listed by: cpc search REPOSITORY"},
		{rootfs.ErrNotFound, defaultFailure, "See which images there are with: cpc images. Get one with: cpc pull IMAGE, or make one with: cpc build"},
		{rootfs.ErrIndex, defaultFailure, "Make it again from what is there, without names, with: cpc system check --repair"},
		{errDamaged, defaultFailure, "Repair it with: cpc system check --repair"},
		{rootfs.ErrNoArchive, defaultFailure, "It should come from cpc save, docker save, podman save or skopeo. The tar of a root file system is for: cpc import FILE NAME"},
		{rootfs.ErrArrival, defaultFailure, "Try again. If it stays so, the image in the registry is damaged: have it pushed again."},
		{rootfs.ErrCorrupt, defaultFailure, "Remove the image with: cpc rmi IMAGE, then pull, import or build it again."},
		{rootfs.ErrInUse, defaultFailure, "End the sandbox that uses it first; see: cpc ps"},
		{errStillRunning, defaultFailure, "Stop them with: cpc stop NAME; or end and remove them too, with: cpc system reset --force"},
		{errForeignIDs, defaultFailure, "Files of ids that you do not have now, only root can remove: sudo rm -rf DIRECTORY, with the data directory that cpc info names."},
		{store.ErrBusy, defaultFailure, "Wait for it to end (a build, a pull, a load), or end it. Then try again."},
		{sbom.ErrNoProgram, defaultFailure, "Install cpc-scan beside cpc (make install); cpc build does without it with: --sbom=false"},
		{netns.ErrUnavailable, defaultFailure, networkHint},
		{sandbox.ErrNoDecisions, defaultFailure, "Sandboxes that were started with --network allowlist, the default, have some."},
		{network.ErrNoCA, defaultFailure, "Name the bundle: --host-ca=FILE"},
		{tar.ErrHeader, defaultFailure, "It should be the tar of a root file system, as it is or compressed with gzip, zstd or bzip2."},
		{io.ErrUnexpectedEOF, defaultFailure, "It ends too early: make it, or get it, once more."},
		{disk.ErrNone, defaultFailure, "Install e2fsprogs, and fuse2fs for users; see which tiers there are in docs/disk.md."},
		{confine.ErrNotLoaded, defaultFailure, "Load it, as root, with: apparmor_parser -r FILE; see which there are with: aa-status"},
		{confine.ErrNoAppArmor, defaultFailure, "Leave the option out: a profile is only applied where AppArmor is enabled."},
		{confine.ErrNotConfined, defaultFailure, "Look in the kernel's log (dmesg) for what the host's policy denies, and for a runtime that ignores the profile or label."},
		{sandbox.ErrCutOff, defaultFailure, "Join it again: cpc attach SANDBOX; what it wrote meanwhile: cpc logs SANDBOX."},
		{userns.ErrNoHelper, defaultFailure, "Install them: sudo apt-get install uidmap"},
		{userns.ErrNoRange, defaultFailure, "Give your user one: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\""},
		{userns.ErrDisabled, defaultFailure, userNamespaceHint},
	}...)
}

func scanHints() []remedy {
	return []remedy{
		{errOldAdvisories, defaultFailure, "Fetch them anew, or take them as they are with: --max-age 0"},
		{errNotFetchedAgain, defaultFailure, "Take the old ones with: cpc scan --offline --max-age 0 IMAGE\n" + advisoriesHint},
		{errNotFetched, defaultFailure, advisoriesHint},
		{errNoAdvisories, defaultFailure, "Leave out --offline once, to fetch them, or name some with --db PATH."},
	}
}

// advisoriesHint says how to scan without a network.
const advisoriesHint = "Without a network, fetch " + sbom.Source + `/ECOSYSTEM/all.zip
on a machine that has one (ECOSYSTEM is Debian, PyPI, npm, Go, ...) and name the files:
  cpc scan --db Debian.zip --db PyPI.zip IMAGE
Where there is a mirror of them, which has the same paths:
  cpc scan --db https://MIRROR IMAGE
See docs/sbom.md.`

const userNamespaceHint = `Allow them, as root:
  sysctl -w user.max_user_namespaces=65536
  sysctl -w kernel.unprivileged_userns_clone=1                # Debian's switch, where it exists
  cpc setup                                                   # AppArmor's profile for cpc (Ubuntu 24.04)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # or all programs, where it exists
What is in the way here is said by: cpc doctor`

// networkHint comes before those for errors of the kernel, which mean something
// else there: no space is no room for a namespace.
const networkHint = `The kernel must have network namespaces, veth and nf_tables, and let this user have them; as root:
  sysctl -w user.max_net_namespaces=65536
  modprobe -a veth nf_tables nft_ct nft_nat nft_log nft_limit nft_reject_inet nf_nat nfnetlink_log
Without: --network none; or --network host, which lets the sandbox reach all that this host reaches.`

// explain finds the exit status and the next step for an error.
func explain(err error) (code int, hint string) {
	if failure, ok := errors.AsType[*wire.FailureBody](err); ok {
		return failure.Code, failure.Hint
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return usageFailure, ""
	}
	if limits, ok := errors.AsType[*sandbox.LimitsError](err); ok {
		return defaultFailure, limitsHint(limits)
	}
	if late, ok := errors.AsType[*sandbox.UnansweredError](err); ok {
		return defaultFailure, unansweredHint(late)
	}
	for _, h := range hints() {
		if errors.Is(err, h.err) {
			return h.code, h.hint
		}
	}
	return defaultFailure, spaceHint(err)
}

func unansweredHint(e *sandbox.UnansweredError) string {
	hint := "End and remove the sandbox with: cpc rm -f " + e.Name
	if e.Stopped {
		return fmt.Sprintf("Let it go on with: kill -CONT %d\n%s", e.PID, hint)
	}
	return hint
}

func limitsHint(e *sandbox.LimitsError) string {
	var b strings.Builder
	b.WriteString("To have them enforced:")
	said := map[string]bool{}
	for _, m := range e.Missing {
		if !said[m.Fix] {
			said[m.Fix] = true
			b.WriteString("\n  " + strings.ReplaceAll(m.Fix, "\n", "\n  "))
		}
	}
	if e.Running {
		return b.String()
	}
	b.WriteString("\nTo go on without them, add one option (for always: CPC_LIMITS=best-effort):\n  cpc run --limits best-effort ...\nWhat this machine can enforce, and what it lacks, is shown by: cpc doctor")
	return b.String()
}
