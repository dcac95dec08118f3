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
	"github.com/claude-pocket-console/cpc/internal/idmap"
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
		{process.ErrNotFound, notFound, "See which commands the image has, for example with: cpc run --rm IMAGE ls /usr/bin"},
		{process.ErrNotExecutable, notExecutable, "The file exists but cannot be executed. Check its mode and, for a script, its first line."},
		{process.ErrStopped, defaultFailure, "A process of user 0 in the sandbox stopped it. End the sandbox with: cpc kill NAME"},
		{process.ErrWorkdir, notExecutable, "Use --workdir with a directory that exists, or create the directory with WORKDIR in the Dockerfile."},
		{record.ErrNameInUse, defaultFailure, "Use another --name, or remove the other sandbox with: cpc rm -f NAME"},
		{record.ErrNotFound, defaultFailure, "List the sandboxes with: cpc ps -a"},
		{record.ErrAmbiguous, defaultFailure, "Use more characters of the id. List the sandboxes with: cpc ps -a"},
		{sandbox.ErrNotRunning, defaultFailure, "See how the sandbox ended with: cpc inspect NAME"},
		{sandbox.ErrMonitorGone, defaultFailure, "The next command removes the remains of the sandbox, for example: cpc ps -a"},
		{sandbox.ErrNoRuntime, defaultFailure, "Install cpc-runtime beside cpc (make install), or give its path with --runtime PATH."},
		{errNoSuchThing, defaultFailure, "List the sandboxes with: cpc ps -a. List the images with: cpc images"},
		{errNoPS, defaultFailure, "Install it: sudo apt-get install procps"},
		{monitor.ErrPaused, defaultFailure, "Unpause the sandbox with: cpc unpause NAME"},
		{cgroups.ErrNoCgroup, defaultFailure, "The sandbox runs without enforced limits, so it has no cgroup. See: cpc inspect NAME"},
		{sandbox.ErrRunning, defaultFailure, "Stop it first with: cpc stop NAME. Or stop and remove it with: cpc rm -f NAME"},
		{registry.ErrDenied, defaultFailure, "Check the user name and the password. Some registries need a token instead of the password; see docs/registry.md."},
		{rootfs.ErrPushDenied, defaultFailure, "Log in with: cpc login SERVER, as a user who may push there. In some registries the repository must exist first."},
		{rootfs.ErrRateLimit, defaultFailure, "Wait, or log in with: cpc login (users have higher limits), or set a mirror in config.toml; see docs/registry.md."},
		{rootfs.ErrSentAway, defaultFailure, "If the storage or the token server of the registry is there, add that host to config.toml:\n  [registries.\"HOST:PORT\"]\nSee docs/registry.md."},
		{rootfs.ErrUntrusted, defaultFailure, "Set its certificate authority (ca = \"FILE\") or, if you accept the risk, set it as insecure in config.toml:\n  [registries.\"HOST:PORT\"]\n  insecure = true\nSee docs/registry.md."},
		{rootfs.ErrUnreachable, defaultFailure, "Check the name and the network. Without a network, import a tar with: cpc import FILE IMAGE"},
		{rootfs.ErrNoRegistry, defaultFailure, "Check the host and the port in the name of the image."},
		{rootfs.ErrFailing, defaultFailure, "Try again later, or set a mirror in config.toml; see docs/registry.md."},
		{rootfs.ErrIncomplete, defaultFailure, "The image must be pushed again. Or set a mirror in config.toml; see docs/registry.md."},
		{rootfs.ErrNoPlatform, defaultFailure, "Use a platform that the image has, with: --platform OS/ARCH. It runs by emulation."},
		{rootfs.ErrNotInRegistry, defaultFailure, "Check the name. List the tags of the repository with: cpc search REPOSITORY"},
		{rootfs.ErrNotFound, defaultFailure, "List the images with: cpc images. Pull one with: cpc pull IMAGE, or build one with: cpc build"},
		{rootfs.ErrIndex, defaultFailure, "Rebuild the list of images (without names) with: cpc system check --repair"},
		{errDamaged, defaultFailure, "Repair it with: cpc system check --repair"},
		{rootfs.ErrNoArchive, defaultFailure, "Use an archive from cpc save, docker save, podman save or skopeo. Import the tar of a root file system with: cpc import FILE NAME"},
		{rootfs.ErrArrival, defaultFailure, "Try again. If the error persists, the image in the registry is damaged and must be pushed again."},
		{rootfs.ErrCorrupt, defaultFailure, "Remove the image with: cpc rmi IMAGE, then pull, import or build it again."},
		{rootfs.ErrInUse, defaultFailure, "Stop the sandbox that uses it first. List the sandboxes with: cpc ps"},
		{errStillRunning, defaultFailure, "Stop them with: cpc stop NAME; or end and remove them too, with: cpc system reset --force"},
		{errForeignIDs, defaultFailure, "Files of ids that you do not have now, only root can remove: sudo rm -rf DIRECTORY, with the data directory that cpc info names."},
		{store.ErrBusy, defaultFailure, "Wait for it to end (a build, a pull, a load), or end it. Then try again."},
		{idmap.ErrOutside, defaultFailure, "Give the file another owner where the image is built: COPY --chown=USER, or chown in a RUN step."},
		{sbom.ErrNoProgram, defaultFailure, "Install cpc-scan beside cpc (make install). cpc build --sbom=false works without it."},
		{netns.ErrUnavailable, defaultFailure, networkHint},
		{sandbox.ErrNoDecisions, defaultFailure, "Only sandboxes with --network allowlist (the default) have decisions."},
		{network.ErrNoCA, defaultFailure, "Give the path of the bundle with: --host-ca=FILE"},
		{tar.ErrHeader, defaultFailure, "Use the tar of a root file system, uncompressed or compressed with gzip, zstd or bzip2."},
		{io.ErrUnexpectedEOF, defaultFailure, "The file is incomplete. Create it or download it again."},
		{disk.ErrNone, defaultFailure, "Install e2fsprogs and, for users other than root, fuse2fs. docs/disk.md describes the tiers."},
		{confine.ErrNotLoaded, defaultFailure, "Load the profile as root with: apparmor_parser -r FILE. List the loaded profiles with: aa-status"},
		{confine.ErrNoAppArmor, defaultFailure, "Remove the option: profiles need a kernel with AppArmor enabled."},
		{confine.ErrNotConfined, defaultFailure, "See the kernel log (dmesg) for denials by the policy of the host. Or the runtime ignores the profile or label."},
		{sandbox.ErrCutOff, defaultFailure, "Attach again with: cpc attach SANDBOX. See the output in between with: cpc logs SANDBOX"},
		{userns.ErrNoHelper, defaultFailure, "Install them: sudo apt-get install uidmap"},
		{userns.ErrNoRange, defaultFailure, "Assign a range to your user: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\""},
		{userns.ErrDisabled, defaultFailure, userNamespaceHint},
	}...)
}

func scanHints() []remedy {
	return []remedy{
		{errOldAdvisories, defaultFailure, "Download them again, or accept them as they are with: --max-age 0"},
		{errNotFetchedAgain, defaultFailure, "Use the old ones with: cpc scan --offline --max-age 0 IMAGE\n" + advisoriesHint},
		{errNotFetched, defaultFailure, advisoriesHint},
		{errNoAdvisories, defaultFailure, "Run once without --offline to download them, or use --db PATH."},
	}
}

// advisoriesHint says how to scan without a network.
const advisoriesHint = "Without a network, download " + sbom.Source + `/ECOSYSTEM/all.zip
on a machine that has one (ECOSYSTEM is Debian, PyPI, npm, Go, ...) and use the files:
  cpc scan --db Debian.zip --db PyPI.zip IMAGE
Or use a mirror with the same paths:
  cpc scan --db https://MIRROR IMAGE
See docs/sbom.md.`

const userNamespaceHint = `Allow them, as root:
  sysctl -w user.max_user_namespaces=65536
  sysctl -w kernel.unprivileged_userns_clone=1                # Debian's switch, where it exists
  cpc setup                                                   # AppArmor's profile for cpc (Ubuntu 24.04)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # or all programs, where it exists
To see what is missing on this machine: cpc doctor`

// networkHint comes before those for errors of the kernel, which mean something
// else there: no space is no room for a namespace.
const networkHint = `The kernel must have network namespaces, veth and nf_tables, and this user must be allowed to use them. As root:
  sysctl -w user.max_net_namespaces=65536
  modprobe -a veth nf_tables nft_ct nft_nat nft_log nft_limit nft_reject_inet nf_nat nfnetlink_log
Or use --network none, or --network host, with which the sandbox reaches everything that this host reaches.`

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
	hint := "Stop and remove the sandbox with: cpc rm -f " + e.Name
	if e.Stopped {
		return fmt.Sprintf("Continue the monitor with: kill -CONT %d\n%s", e.PID, hint)
	}
	return hint
}

func limitsHint(e *sandbox.LimitsError) string {
	var b strings.Builder
	b.WriteString("To enforce them:")
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
	b.WriteString("\nTo run without them, add one option (permanently: CPC_LIMITS=best-effort):\n  cpc run --limits best-effort ...\nTo see what this machine can enforce and what is missing: cpc doctor")
	return b.String()
}
