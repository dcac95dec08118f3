// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
)

const (
	noHostFiles = "a sandbox sees no files of the host. Put them into the image (COPY), or into a running sandbox:\n" +
		"  tar c DIRECTORY | cpc exec -i NAME tar x"
	noPorts     = "nothing reaches into a sandbox. Ask from inside instead: cpc exec NAME curl http://127.0.0.1:PORT"
	noAddress   = "every sandbox has the same address in a network of its own, where nobody else is. See what it reaches with: cpc net show NAME"
	noDevices   = "a sandbox has no devices of the host"
	noShared    = "a sandbox shares no namespaces, with the host or others; each has its own"
	noRestart   = "a sandbox that has ended is not started again. Run a new one, or let systemd do it: docs/systemd.md"
	noHealth    = "nothing checks a sandbox while it runs. Do so with: cpc exec NAME COMMAND"
	noCgroup    = "cpc chooses the cgroup. To bound several together, run them in a slice of systemd: docs/systemd.md"
	noWindows   = "it is for containers of Windows. Limit CPUs with --cpus, and block I/O with --device-read-bps and the like"
	noRealTime  = "a sandbox has no real-time priority. Limit CPU time with --cpus or --cpu-quota"
	noTrust     = "signatures of images are not verified. Name the image by its digest, as NAME@sha256:…, to get that one only"
	noPods      = "there are no pods: each sandbox is on its own"
	noIDs       = "cpc chooses which ids stand for the sandbox's, so that they are nobody's on the host. See which with: cpc inspect NAME"
	noPlatform  = "write the platform as one word: --platform OS/ARCH[/VARIANT]"
	noLogin     = "log in to the registry first, with: cpc login SERVER"
	noCerts     = "name the registry's authority, or call it insecure, in config.toml: docs/registry.md"
	noHooks     = "hooks are the runtime's; a sandbox has those that cpc gives it"
	noLatest    = "name the sandbox. cpc ps --latest shows the newest"
	noAll       = "name the sandboxes, as in: cpc COMMAND $(cpc ps -q)"
	noFilters   = "name the sandboxes, as in: cpc COMMAND $(cpc ps -q --filter KEY=VALUE)"
	noFile      = "name the sandbox, as in: cpc COMMAND $(cat FILE)"
	noSize      = "how much sandboxes and images take on disk is shown by: cpc system df -v"
	noLogs      = "output is kept on this host, bounded, and shown by: cpc logs NAME. Send it on with: cpc logs -f NAME | logger"
	noRealPriv  = "a sandbox never has the host's rights. Give it single ones with --cap-add and --security-opt"
	noNewer     = "layers stay as the steps make them; a stage that copies from another makes one layer of several: COPY --from"
	noHostEnv   = "choose the variables that a sandbox gets, with --env NAME[=VALUE] or --env-file"
	noTuning    = "limits of the whole build are set with --memory, --cpus and --pids-limit"
	noRemote    = "cpc has no server: it works on the machine where it runs"
	noEtcFiles  = "cpc writes the sandbox's /etc/hosts and /etc/hostname; add to them with --add-host and --hostname"
	noPreserve  = "no open files of the caller get into a sandbox. Give it data on its standard input (-i)"
	noPasswd    = "accounts are those of the image. Add to them in its Dockerfile"
	noMemory    = "the kernel ends a program when the sandbox is out of memory. Give the sandbox more with --memory"
	noSwappy    = "a sandbox has no swap unless --memory-swap gives it some; how eagerly it is used is the host's choice"
	noDebugging = "more is said by: cpc inspect, cpc events, cpc doctor"
)

// strangeFlags are the flags of docker's and podman's commands that cpc's have
// not, by docker's name of the command.
func strangeFlags() map[string][]strange {
	run := slices.Concat(strangeDocker(), strangeHealth(), strangePodman())
	all := map[string][]strange{
		"run": run,
		"exec": {
			{"privileged", "bool false", noRealPriv},
			{"latest l", "", noLatest},
			{"preserve-fds", "0", noPreserve},
			{"preserve-fd", "", noPreserve},
			{"cidfile", "", noFile},
			{"wait", "0", "a sandbox runs once cpc run -d has printed its id"},
		},
		"attach": {
			{"sig-proxy", "bool true", "signals are passed on to the program. To only look: cpc logs -f NAME"}, {"latest l", "", noLatest},
		},
		"ps": {
			{"size s", "bool false", noSize},
			{"external", "bool false", "there are no sandboxes but cpc's"},
			{"namespace", "bool false", "see its processes with: cpc top NAME"},
			{"ns", "bool false", "see its processes with: cpc top NAME"},
			{"pod p", "bool false", noPods},
			{"sort", "created", "newest come first. Sort them with: cpc ps --format '{{.Names}}' | sort"},
			{"sync", "bool *", ""},
			{"watch w", "", "use: watch cpc ps"},
			{"noheading", "", "choose fields, which come without a heading, with --format '{{.ID}}'"},
		},
		"logs": {
			{"details", "bool false", "what the log has is time, stream and text. Labels are shown by: cpc inspect NAME"},
			{"color", "bool false", "output is shown as it was printed"},
			{"names", "bool false", "cpc logs shows one sandbox"},
			{"latest l", "", noLatest},
		},
		"rm": {
			{"volumes v", "bool *", ""},
			{"link l", "bool false", "sandboxes have no links"},
			{"all a", "", noAll + ", or: cpc container prune"},
			{"depend", "bool *", ""},
			{"cidfile", "", noFile},
			{"filter", "", noFilters},
			{"ignore i", "", "with --force a sandbox that is not there is no error"},
			{"latest", "", noLatest},
			{"time t", "", "end them first, with: cpc stop -t SECONDS NAME"},
		},
	}
	maps.Copy(all, strangeOfControl())
	maps.Copy(all, strangeOfImages())
	return all
}

// strangeOfControl are those of commands that end, watch and change sandboxes,
// and of those about all of cpc.
func strangeOfControl() map[string][]strange {
	return map[string][]strange{
		"stop":    {{"all a", "", noAll}, {"cidfile", "", noFile}, {"filter f", "", noFilters}, {"ignore i", "", "stop of a sandbox that has ended is no error"}, {"latest l", "", noLatest}},
		"kill":    {{"all a", "", noAll}, {"cidfile", "", noFile}, {"latest l", "", noLatest}},
		"wait":    {{"condition", "stopped exited not-running", "it waits until the sandbox has ended"}, {"interval i", "*", ""}, {"ignore", "", "name sandboxes that are there"}, {"latest l", "", noLatest}},
		"pause":   {{"all a", "", noAll}, {"cidfile", "", noFile}, {"filter f", "", noFilters}, {"latest l", "", noLatest}},
		"unpause": {{"all a", "", noAll}, {"cidfile", "", noFile}, {"filter f", "", noFilters}, {"latest l", "", noLatest}},
		"top":     {{"latest l", "", noLatest}},
		"stats":   {{"no-reset", "bool false", "on a terminal, tables are shown one over the other. For one after the other: cpc stats | cat"}, {"interval i", "1", "it is shown once a second"}, {"latest l", "", noLatest}},
		"inspect": {{"size s", "bool false", noSize}, {"latest l", "", noLatest}, {"platform", "", "see all of a platform with: cpc pull --platform OS/ARCH IMAGE, then cpc inspect"}},
		"update": {
			{"restart", "no", noRestart},
			{"cpu-rt-period", "0", noRealTime},
			{"cpu-rt-runtime", "0", noRealTime},
			{"kernel-memory", "0", "it is part of --memory"},
			{"memory-swappiness", "-1 0", noSwappy},
			{"env e", "", "variables are set at start: cpc run -e, or for one command: cpc exec -e"},
			{"blkio-weight-device", "", "one weight is for all devices: --blkio-weight"},
			{"latest", "", noLatest},
			{"health-cmd", "none", noHealth},
		},
		"build":           strangeBuild(),
		"events":          {{"stream", "bool true", "to end where the past ends: cpc events --until 0s"}, {"no-trunc", "bool true", "choose fields with --format"}},
		"builder prune":   {{"all a", "bool *", ""}, {"verbose", "bool *", ""}, {"builder", "*", ""}, {"keep-storage", "", noBudget}, {"reserved-space", "", noBudget}, {"max-used-space", "", noBudget}, {"min-free-space", "", noBudget}},
		"system prune":    {{"external", "", "there are no sandboxes but cpc's"}, {"build", "bool *", ""}},
		"image prune":     {{"external", "", "there are no sandboxes but cpc's"}, {"build-cache", "", "remove the build cache with: cpc builder prune"}},
		"container prune": {},
		"history":         {},
		"export":          {},
		"tag":             {},
		"version":         {},
		"info":            {{"debug D", "bool false", noDebugging}},
		"system df":       {},
	}
}

const noBudget = "choose what goes by its age: --filter until=24h"

const noSigning = "images are not signed. Sign what is in the registry with a tool for that, such as cosign"

// strangeDocker are of docker run.
func strangeDocker() []strange {
	return []strange{
		{"volume v", "", noHostFiles},
		{"volumes-from", "", noHostFiles},
		{"volume-driver", "local", noHostFiles},
		{"publish p", "", noPorts},
		{"publish-all P", "bool false", noPorts},
		{"link", "", noPorts},
		{"ip", "", noAddress},
		{"ip6", "", noAddress},
		{"mac-address", "", noAddress},
		{"network-alias", "", noAddress},
		{"net-alias", "", noAddress},
		{"link-local-ip", "", noAddress},
		{"device", "", noDevices},
		{"gpus", "", noDevices},
		{"device-cgroup-rule", "", noDevices},
		{"pid", "private", noShared},
		{"ipc", "private", noShared},
		{"uts", "private", noShared},
		{"cgroupns", "private", noShared},
		{"userns", "private auto", "a sandbox has a user namespace of its own. Choose who runs in it with --user"},
		{"restart", "no", noRestart},
		{"privileged", "bool false", noRealPriv},
		{"cgroup-parent", "", noCgroup},
		{"sysctl", "", "kernel parameters are those that cpc chooses"},
		{"oom-kill-disable", "bool false", noMemory},
		{"memory-swappiness", "-1 0", noSwappy},
		{"kernel-memory", "0", "it is part of --memory"},
		{"blkio-weight-device", "", "one weight is for all devices: --blkio-weight"},
		{"cpu-rt-period", "0", noRealTime},
		{"cpu-rt-runtime", "0", noRealTime},
		{"cpu-count", "0", noWindows},
		{"cpu-percent", "0", noWindows},
		{"io-maxbandwidth", "0", noWindows},
		{"io-maxiops", "0", noWindows},
		{"isolation", "default", noWindows},
		{"disable-content-trust", "bool true", noTrust},
		{"sig-proxy", "bool true", "signals are passed on to the program. To only look: cpc run -d, then cpc logs -f NAME"},
		{"use-api-socket", "bool false", noRemote},
	}
}

func strangeHealth() []strange {
	return []strange{
		{"no-healthcheck", "bool *", ""},
		{"health-cmd", "none", noHealth},
		{"health-interval", "0 0s disable", noHealth},
		{"health-timeout", "0 0s", noHealth},
		{"health-retries", "0", noHealth},
		{"health-start-period", "0 0s", noHealth},
		{"health-start-interval", "0 0s", noHealth},
		{"health-on-failure", "none", noHealth},
		{"health-startup-cmd", "", noHealth},
		{"health-startup-interval", "", noHealth},
		{"health-startup-retries", "", noHealth},
		{"health-startup-success", "", noHealth},
		{"health-startup-timeout", "", noHealth},
		{"health-log-destination", "", noHealth},
		{"health-max-log-count", "", noHealth},
		{"health-max-log-size", "", noHealth},
	}
}

// strangePodman are of podman run only.
func strangePodman() []strange {
	return []strange{
		{"arch", "", noPlatform},
		{"os", "", noPlatform},
		{"variant", "", noPlatform},
		{"authfile", "", noLogin},
		{"creds", "", noLogin},
		{"cert-dir", "", noCerts},
		{"tls-verify", "bool true", noCerts},
		{"retry", "*", ""},
		{"retry-delay", "*", ""},
		{"signature-policy", "", noTrust},
		{"decryption-key", "", "images are not encrypted"},
		{"cgroups", "enabled", noCgroup},
		{"cgroup-conf", "", noCgroup},
		{"rdt-class", "", noCgroup},
		{"chrootdirs", "", noHostFiles},
		{"rootfs", "bool false", "make an image of the directory: tar c -C DIRECTORY . | cpc import - IMAGE"},
		{"image-volume", "", "volumes of the image are on the sandbox's disk: --disk"},
		{"secret", "", "give it on the standard input (-i), or with --env-file"},
		{"conmon-pidfile", "", "see the process ids with: cpc inspect -f '{{.State.MonitorPid}}' NAME"},
		{"pidfile", "", "see the process ids with: cpc inspect -f '{{.State.Pid}}' NAME"},
		{"env-host", "bool false", noHostEnv},
		{"env-merge", "", noHostEnv},
		{"unsetenv", "", "set it to nothing: --env NAME="},
		{"unsetenv-all", "bool false", "set each to nothing: --env NAME="},
		{"http-proxy", "bool false", "let the gateway use the host's proxies with --proxy; the sandbox then needs none"},
		{"gidmap", "", noIDs},
		{"uidmap", "", noIDs},
		{"subgidname", "", noIDs},
		{"subuidname", "", noIDs},
		{"hostuser", "", noIDs},
		{"group-entry", "", noPasswd},
		{"passwd", "bool *", ""},
		{"passwd-entry", "", noPasswd},
		{"hosts-file", "", noEtcFiles},
		{"no-hosts", "bool false", noEtcFiles},
		{"no-hostname", "bool false", noEtcFiles},
		{"init-path", "", "the init of --init is cpc's"},
		{"init-ctr", "", noPods},
		{"pod", "", noPods},
		{"pod-id-file", "", noPods},
		{"requires", "", noPods},
		{"infra", "bool false", noPods},
		{"personality", "", "programs see Linux of the image's architecture: --platform"},
		{"preserve-fds", "0", noPreserve},
		{"preserve-fd", "", noPreserve},
		{"read-only-tmpfs", "bool true", "a read-only sandbox always has its tmpfs mounts. For a writable root: --read-only=false"},
		{"replace", "bool false", "remove the other first, with: cpc rm -f NAME"},
		{"rmi", "bool false", "remove the image afterwards, with: cpc rmi IMAGE"},
		{"sdnotify", "conmon ignore", "cpc run tells systemd itself: docs/systemd.md"},
		{"systemd", "false", "systemd does not run in a sandbox. Run the program itself, with --init if it leaves processes behind"},
		{"shm-size-systemd", "", "systemd does not run in a sandbox"},
		{"timeout", "0", "use: timeout SECONDS cpc run --rm …"},
		{"tz", "", "set the variable: --env TZ=Europe/Paris"},
		{"umask", "0022 022", "set it where the program starts: sh -c 'umask 077; exec PROGRAM'"},
		{"hooks-dir", "", noHooks},
		{"ip-range", "", noAddress},
		{"stop-timeout-never", "", "use --stop-timeout"},
		{"artifact", "", noHostFiles},
	}
}

// strangeEverywhere are docker's and podman's flags before a command.
func strangeEverywhere() []strange {
	return []strange{
		{"host H", "", noRemote},
		{"context", "", noRemote},
		{"connection", "", noRemote},
		{"remote", "", noRemote},
		{"url", "", noRemote},
		{"identity", "", noRemote},
		{"tls", "", noRemote},
		{"tlscacert", "", noRemote},
		{"tlscert", "", noRemote},
		{"tlskey", "", noRemote},
		{"tlsverify", "", noRemote},
		{"ssh", "", noRemote},
		{"config", "", "the configuration is config.toml, in the directory that XDG_CONFIG_HOME names"},
		{"debug D", "", noDebugging},
		{"log-level", "", noDebugging},
		{"syslog", "", noDebugging},
		{"trace", "", noDebugging},
		{"noout", "", "use: > /dev/null"},
		{"root", "", "where images are kept is said by CPC_DATA_DIR"},
		{"runroot", "", "where state is kept is said by CPC_STATE_DIR"},
		{"tmpdir", "", "where state is kept is said by CPC_STATE_DIR"},
		{"storage-driver", "", "images are kept as an OCI layout, with layers for overlayfs"},
		{"storage-opt", "", "images are kept as an OCI layout, with layers for overlayfs"},
		{"cgroup-manager", "", noCgroup},
		{"events-backend", "", "events are shown by: cpc events"},
		{"hooks-dir", "", noHooks},
		{"conmon", "", "each sandbox has a monitor, which is cpc itself"},
		{"network-config-dir", "", "each sandbox has a network of its own: docs/network.md"},
		{"network-cmd-path", "", "each sandbox has a network of its own: docs/network.md"},
		{"runtime-flag", "", "flags are those that cpc gives the runtime"},
	}
}
