// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
)

const (
	noHostFiles = "a sandbox sees no files of the host. Copy files into the image (COPY), or into a running sandbox:\n" +
		"  cpc cp DIRECTORY NAME:PATH"
	noPorts     = "nothing from outside reaches a sandbox. Send the request from inside: cpc exec NAME curl http://127.0.0.1:PORT"
	noAddress   = "every sandbox has its own network, and the same address in it. Show what it can reach with: cpc net show NAME"
	noDevices   = "a sandbox has no devices of the host"
	noShared    = "a sandbox shares no namespaces with the host or with other sandboxes"
	noRestart   = "an exited sandbox cannot be started again. Run a new one, or use a systemd unit: docs/systemd.md"
	noHealth    = "health checks do not run. Check a sandbox with: cpc exec NAME COMMAND"
	noCgroup    = "cpc chooses the cgroup. To limit several sandboxes together, run them in a systemd slice: docs/systemd.md"
	noWindows   = "it is for Windows containers. Limit CPUs with --cpus, and block I/O with --device-read-bps and similar flags"
	noRealTime  = "a sandbox has no real-time priority. Limit CPU time with --cpus or --cpu-quota"
	noTrust     = "cpc does not verify signatures of images. Use a digest, NAME@sha256:…, to select exactly one image"
	noPods      = "cpc has no pods; each sandbox is separate"
	noIDs       = "cpc chooses the ids of a sandbox, so that no user of the host has them. Show them with: cpc inspect NAME"
	noPlatform  = "use one flag for the platform: --platform OS/ARCH[/VARIANT]"
	noLogin     = "log in to the registry first, with: cpc login SERVER"
	noCerts     = "set the certificate authority of the registry, or set it as insecure, in config.toml: docs/registry.md"
	noHooks     = "cpc sets the hooks of a sandbox itself"
	noLatest    = "give the name of the sandbox; cpc ps --latest shows the newest one"
	noAll       = "give the names of the sandboxes, for example: cpc COMMAND $(cpc ps -q)"
	noFilters   = "give the names of the sandboxes, for example: cpc COMMAND $(cpc ps -q --filter KEY=VALUE)"
	noFile      = "give the name of the sandbox, for example: cpc COMMAND $(cat FILE)"
	noSize      = "show the disk usage with: cpc system df -v"
	noLogs      = "cpc keeps the output on this host. Show it with: cpc logs NAME. Send it on with: cpc logs -f NAME | logger"
	noRealPriv  = "a sandbox never has rights on the host. Add single capabilities with --cap-add, and see --security-opt"
	noNewer     = "each step creates a layer. To merge layers, copy from another stage: COPY --from"
	noHostEnv   = "set the variables of a sandbox with --env NAME[=VALUE] or --env-file"
	noTuning    = "set the limits of RUN steps with --memory, --cpus and --pids-limit"
	noRemote    = "cpc has no server and works on the local machine only"
	noEtcFiles  = "cpc writes /etc/hosts and /etc/hostname of the sandbox. Change them with --add-host and --hostname"
	noPreserve  = "a sandbox does not inherit open files. Pass data on standard input (-i)"
	noPasswd    = "a sandbox has the accounts of its image. Add accounts in the Dockerfile"
	noMemory    = "the kernel always kills a sandbox that is out of memory. Raise the limit with --memory"
	noSwappy    = "the host decides how eagerly it swaps. A sandbox has no swap unless --memory-swap allows it"
	noDebugging = "for details use cpc inspect, cpc events and cpc doctor"
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
			{"wait", "0", "the sandbox is running when cpc run -d has printed its id"},
		},
		"attach": {
			{"sig-proxy", "bool true", "cpc passes signals on to the program. To watch only: cpc logs -f NAME"}, {"latest l", "", noLatest},
		},
		"ps": {
			{"size s", "bool false", noSize},
			{"external", "bool false", "cpc lists only its own sandboxes"},
			{"namespace", "bool false", "show the processes with: cpc top NAME"},
			{"ns", "bool false", "show the processes with: cpc top NAME"},
			{"pod p", "bool false", noPods},
			{"sort", "created", "the newest come first. To sort by name: cpc ps --format '{{.Names}}' | sort"},
			{"sync", "bool *", ""},
			{"watch w", "", "use: watch cpc ps"},
			{"noheading", "", "use --format '{{.ID}}', which prints no heading"},
		},
		"logs": {
			{"details", "bool false", "the log has no labels. Show them with: cpc inspect NAME"},
			{"color", "bool false", "cpc shows the output as the program printed it"},
			{"names", "bool false", "cpc logs shows one sandbox at a time"},
			{"latest l", "", noLatest},
		},
		"rm": {
			{"volumes v", "bool *", ""},
			{"link l", "bool false", "sandboxes have no links"},
			{"all a", "", noAll + ", or: cpc container prune"},
			{"depend", "bool *", ""},
			{"cidfile", "", noFile},
			{"filter", "", noFilters},
			{"ignore i", "", "use --force, which ignores sandboxes that do not exist"},
			{"latest", "", noLatest},
			{"time t", "", "stop the sandbox first, with: cpc stop -t SECONDS NAME"},
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
		"stop":    {{"all a", "", noAll}, {"cidfile", "", noFile}, {"filter f", "", noFilters}, {"ignore i", "", "cpc stop ignores exited sandboxes anyway"}, {"latest l", "", noLatest}},
		"kill":    {{"all a", "", noAll}, {"cidfile", "", noFile}, {"latest l", "", noLatest}},
		"wait":    {{"condition", "stopped exited not-running", "cpc wait always waits until the sandbox exits"}, {"interval i", "*", ""}, {"ignore", "", "give names of sandboxes that exist"}, {"latest l", "", noLatest}},
		"pause":   {{"all a", "", noAll}, {"cidfile", "", noFile}, {"filter f", "", noFilters}, {"latest l", "", noLatest}},
		"unpause": {{"all a", "", noAll}, {"cidfile", "", noFile}, {"filter f", "", noFilters}, {"latest l", "", noLatest}},
		"top":     {{"latest l", "", noLatest}},
		"stats":   {{"no-reset", "bool false", "on a terminal each table replaces the one before. To print them one after another: cpc stats | cat"}, {"interval i", "1", "cpc stats updates once a second"}, {"latest l", "", noLatest}},
		"inspect": {{"size s", "bool false", noSize}, {"latest l", "", noLatest}, {"platform", "", "first run cpc pull --platform OS/ARCH IMAGE, then cpc inspect IMAGE"}},
		"update": {
			{"restart", "no", noRestart},
			{"cpu-rt-period", "0", noRealTime},
			{"cpu-rt-runtime", "0", noRealTime},
			{"kernel-memory", "0", "it is part of --memory"},
			{"memory-swappiness", "-1 0", noSwappy},
			{"env e", "", "set variables at the start with cpc run -e, or for one command with cpc exec -e"},
			{"blkio-weight-device", "", "use --blkio-weight, which holds for all devices"},
			{"latest", "", noLatest},
			{"health-cmd", "none", noHealth},
		},
		"build":           strangeBuild(),
		"events":          {{"stream", "bool true", "to show past events only: cpc events --until 0s"}, {"no-trunc", "bool true", "choose fields with --format"}},
		"builder prune":   {{"all a", "bool *", ""}, {"verbose", "bool *", ""}, {"builder", "*", ""}, {"keep-storage", "", noBudget}, {"reserved-space", "", noBudget}, {"max-used-space", "", noBudget}, {"min-free-space", "", noBudget}},
		"system prune":    {{"external", "", "cpc lists only its own sandboxes"}, {"build", "bool *", ""}},
		"image prune":     {{"external", "", "cpc lists only its own sandboxes"}, {"build-cache", "", "remove the build cache with: cpc builder prune"}},
		"container prune": {},
		"history":         {},
		"export":          {},
		"tag":             {},
		"version":         {},
		"info":            {{"debug D", "bool false", noDebugging}},
		"system df":       {},
	}
}

const noBudget = "select by age with: --filter until=24h"

const noSigning = "cpc does not sign images. Use a tool such as cosign for images in a registry"

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
		{"userns", "private auto", "a sandbox always has its own user namespace. Choose the user in it with --user"},
		{"restart", "no", noRestart},
		{"privileged", "bool false", noRealPriv},
		{"cgroup-parent", "", noCgroup},
		{"oom-kill-disable", "bool false", noMemory},
		{"memory-swappiness", "-1 0", noSwappy},
		{"kernel-memory", "0", "it is part of --memory"},
		{"blkio-weight-device", "", "use --blkio-weight, which holds for all devices"},
		{"cpu-rt-period", "0", noRealTime},
		{"cpu-rt-runtime", "0", noRealTime},
		{"cpu-count", "0", noWindows},
		{"cpu-percent", "0", noWindows},
		{"io-maxbandwidth", "0", noWindows},
		{"io-maxiops", "0", noWindows},
		{"isolation", "default", noWindows},
		{"disable-content-trust", "bool true", noTrust},
		{"sig-proxy", "bool true", "cpc passes signals on to the program. To watch only: cpc run -d, then cpc logs -f NAME"},
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
		{"rootfs", "bool false", "create an image from the directory: tar c -C DIRECTORY . | cpc import - IMAGE"},
		{"image-volume", "", "the volumes of the image are on the disk of the sandbox; see --disk"},
		{"secret", "", "pass it on standard input (-i), or with --env-file"},
		{"conmon-pidfile", "", "show the process id with: cpc inspect -f '{{.State.MonitorPid}}' NAME"},
		{"pidfile", "", "show the process id with: cpc inspect -f '{{.State.Pid}}' NAME"},
		{"env-host", "bool false", noHostEnv},
		{"env-merge", "", noHostEnv},
		{"unsetenv", "", "set the variable to an empty value: --env NAME="},
		{"unsetenv-all", "bool false", "set each variable to an empty value: --env NAME="},
		{"http-proxy", "bool false", "use --proxy: the gateway then connects through the proxies of the host"},
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
		{"init-path", "", "--init always uses the init of cpc"},
		{"init-ctr", "", noPods},
		{"pod", "", noPods},
		{"pod-id-file", "", noPods},
		{"requires", "", noPods},
		{"infra", "bool false", noPods},
		{"personality", "", "choose the architecture with --platform"},
		{"preserve-fds", "0", noPreserve},
		{"preserve-fd", "", noPreserve},
		{"read-only-tmpfs", "bool true", "a read-only sandbox always has tmpfs mounts. For a writable root use --read-only=false"},
		{"replace", "bool false", "remove the other sandbox first, with: cpc rm -f NAME"},
		{"rmi", "bool false", "remove the image afterwards, with: cpc rmi IMAGE"},
		{"sdnotify", "conmon ignore", "cpc run notifies systemd by itself: docs/systemd.md"},
		{"systemd", "false", "systemd does not run in a sandbox. Run the program directly, with --init if it leaves processes behind"},
		{"shm-size-systemd", "", "systemd does not run in a sandbox"},
		{"timeout", "0", "use: timeout SECONDS cpc run --rm …"},
		{"tz", "", "set the variable: --env TZ=Europe/Paris"},
		{"umask", "0022 022", "set it when the program starts: sh -c 'umask 077; exec PROGRAM'"},
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
		{"config", "", "the configuration file is $XDG_CONFIG_HOME/cpc/config.toml: docs/settings.md"},
		{"debug D", "", noDebugging},
		{"log-level", "", noDebugging},
		{"syslog", "", noDebugging},
		{"trace", "", noDebugging},
		{"noout", "", "use: > /dev/null"},
		{"root", "", "set the directory of images with CPC_DATA_DIR"},
		{"runroot", "", "set the directory of the state with CPC_STATE_DIR"},
		{"tmpdir", "", "set the directory of the state with CPC_STATE_DIR"},
		{"storage-driver", "", "cpc always stores images as an OCI layout with layers for overlayfs"},
		{"storage-opt", "", "cpc always stores images as an OCI layout with layers for overlayfs"},
		{"cgroup-manager", "", noCgroup},
		{"events-backend", "", "show events with: cpc events"},
		{"hooks-dir", "", noHooks},
		{"conmon", "", "cpc itself monitors each sandbox"},
		{"network-config-dir", "", "each sandbox has its own network: docs/network.md"},
		{"network-cmd-path", "", "each sandbox has its own network: docs/network.md"},
		{"runtime-flag", "", "cpc chooses the flags of the runtime"},
	}
}
