// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// dockerFlags are the flags of docker's commands, with their letters, and those
// of podman's that docker has not.
func dockerFlags() map[string]string {
	run := `add-host annotation attach,a blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile cpu-count cpu-percent cpu-period
		cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpus cpuset-cpus cpuset-mems detach,d detach-keys device device-cgroup-rule device-read-bps
		device-read-iops device-write-bps device-write-iops disable-content-trust dns dns-opt dns-option dns-search domainname entrypoint env,e env-file expose
		gpus group-add health-cmd health-interval health-retries health-start-interval health-start-period health-timeout hostname,h init interactive,i
		io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label,l label-file link link-local-ip log-driver log-opt mac-address memory,m
		memory-reservation memory-swap memory-swappiness mount name net net-alias network network-alias no-healthcheck oom-kill-disable oom-score-adj pid
		pids-limit platform privileged publish,p publish-all,P pull quiet,q read-only restart rm runtime security-opt shm-size sig-proxy stop-signal
		stop-timeout storage-opt sysctl tmpfs tty,t ulimit use-api-socket user,u userns uts volume,v volume-driver volumes-from workdir,w`
	podmanRun := ` arch authfile cert-dir cgroup-conf cgroups chrootdirs conmon-pidfile creds decryption-key env-host env-merge gidmap group-entry
		health-log-destination health-max-log-count health-max-log-size health-on-failure health-startup-cmd health-startup-interval health-startup-retries
		health-startup-success health-startup-timeout hosts-file hostuser http-proxy image-volume init-ctr init-path no-hostname no-hosts os passwd passwd-entry
		personality pidfile pod pod-id-file preserve-fd preserve-fds rdt-class read-only-tmpfs replace requires retry retry-delay rmi rootfs sdnotify secret
		shm-size-systemd subgidname subuidname systemd timeout tls-verify tz uidmap umask unsetenv unsetenv-all variant`
	return map[string]string{
		"run":    run + podmanRun,
		"exec":   `detach,d detach-keys env,e env-file interactive,i privileged tty,t user,u workdir,w cidfile latest,l preserve-fd preserve-fds`,
		"attach": `detach-keys no-stdin sig-proxy latest,l`,
		"ps":     `all,a filter,f format last,n latest,l no-trunc quiet,q size,s external namespace ns noheading pod,p sort sync watch,w`,
		"logs":   `details follow,f since tail,n timestamps,t until color latest,l names`,
		"rm":     `force,f link,l volumes,v all,a cidfile depend filter ignore,i latest time,t`,
		"stop":   `signal,s time,t timeout all,a cidfile filter,f ignore,i latest,l`,
		"kill":   `signal,s all,a cidfile latest,l`,
		"wait":   `condition ignore interval,i latest,l`,
		"build": `add-host allow annotation attest build-arg build-context builder cache-from cache-to call cgroup-parent check compress cpu-period cpu-quota
			cpu-shares,c cpuset-cpus cpuset-mems debug,D disable-content-trust file,f force-rm iidfile isolation label load memory,m memory-swap metadata-file
			network no-cache no-cache-filter output,o platform policy progress provenance pull push quiet,q rm sbom secret security-opt shm-size squash ssh
			stream tag,t target ulimit all-platforms arch authfile build-arg-file cache-ttl cap-add cap-drop cert-dir cgroupns cpp-flag creds decryption-key
			device disable-compression dns dns-option dns-search env format from group-add hooks-dir http-proxy identity-label ignorefile
			inherit-labels ipc jobs layer-label layers logfile manifest no-hostname no-hosts omit-history os os-feature os-version pid retry retry-delay
			rewrite-timestamp runtime-flag sbom-image-output sbom-output sign-by skip-unused-stages source-date-epoch squash-all timestamp tls-verify
			unsetenv unsetlabel userns userns-gid-map userns-gid-map-group userns-uid-map userns-uid-map-user uts variant volume,v`,
		"pull":    `all-tags,a disable-content-trust platform quiet,q arch authfile cert-dir creds decryption-key os policy retry retry-delay tls-verify variant`,
		"push":    `all-tags,a disable-content-trust platform quiet,q authfile cert-dir compression-format compression-level creds digestfile encrypt-layer encryption-key force-compression format,f remove-signatures retry retry-delay sign-by sign-by-sigstore sign-passphrase-file tls-verify`,
		"images":  `all,a digests filter,f format no-trunc quiet,q tree history noheading sort`,
		"rmi":     `force,f no-prune platform all,a ignore,i`,
		"inspect": `format,f size,s type latest,l`, "stats": `all,a format no-stream no-trunc interval,i latest,l no-reset`,
		"events": `filter,f format since until no-trunc stream`, "top": `latest,l`, "pause": `all,a cidfile filter,f latest,l`, "unpause": `all,a cidfile filter,f latest,l`,
		"update": `blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpus cpuset-cpus cpuset-mems kernel-memory memory,m
			memory-reservation memory-swap pids-limit restart memory-swappiness env,e`,
		"save": `output,o platform format compress quiet,q multi-image-archive,m`, "load": `input,i platform quiet,q`,
		"import": `change,c message,m platform quiet,q arch os variant`, "export": `output,o`, "history": `format human,H no-trunc platform quiet,q`,
		"login": `password,p password-stdin username,u authfile cert-dir get-login secret tls-verify verbose,v`, "logout": `all,a authfile`,
		"search": `filter,f format limit no-trunc list-tags tls-verify authfile`, "version": `format,f`, "info": `format,f`, "system df": `format verbose,v`,
		"system prune": `all,a filter force,f volumes external`, "image prune": `all,a filter force,f`, "container prune": `filter force,f`,
		"builder prune": `all,a filter force,f keep-storage reserved-space max-used-space min-free-space verbose`,
	}
}

// TestDockerFlags: each flag of docker's and podman's is one of cpc's, or is
// taken for what is so anyway, or is refused with a reason.
func TestDockerFlags(t *testing.T) {
	for name, flags := range dockerFlags() {
		root := newRoot(&app{})
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil || dockerName(cmd) != name {
			t.Errorf("cpc %s: %v, %v", name, cmd, err)
			continue
		}
		cmd.InheritedFlags() // merges the root's
		for flag := range strings.FieldsSeq(flags) {
			long, letter, _ := strings.Cut(flag, ",")
			f := cmd.Flags().Lookup(long)
			if letter != "" && f != nil && f.Shorthand != letter {
				t.Errorf("cpc %s: -%s is not --%s", name, letter, long)
			}
			if f == nil {
				for _, arg := range []string{"--" + long, "-" + letter} {
					if arg != "-" {
						checkReason(t, cmd, arg)
					}
				}
				continue
			}
			if v, ok := f.Value.(*strangeValue); ok && !slices.Contains(v.values(), "*") {
				other := "other"
				if v.Type() == onOff {
					other = map[bool]string{true: "false", false: "true"}[slices.Contains(v.values(), "true")]
				}
				checkReason(t, cmd, "--"+long+"="+other)
				for _, same := range v.values() {
					if same != onOff && cmd.ParseFlags([]string{"--" + long + "=" + same}) != nil {
						t.Errorf("cpc %s --%s=%s is not taken", name, long, same)
					}
				}
			}
		}
	}
}

func checkReason(t *testing.T, cmd *cobra.Command, arg string) {
	t.Helper()
	err := cmd.ParseFlags([]string{arg})
	if err == nil {
		t.Errorf("%s %s is taken", cmd.CommandPath(), arg)
		return
	}
	err = flagFailure(cmd, err)
	_, usage := errors.AsType[usageError](err)
	_, reason, ok := strings.Cut(err.Error(), "is not offered: ")
	if !usage || !ok || len(reason) < 10 {
		t.Errorf("%s %s: %v", cmd.CommandPath(), arg, err)
	}
}

// TestStrangeFlags: what is offered one day must not be said to be missing.
func TestStrangeFlags(t *testing.T) {
	root := newRoot(&app{})
	for name, flags := range strangeFlags() {
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil || dockerName(cmd) != name {
			t.Errorf("cpc %s: no such command", name)
			continue
		}
		for _, f := range flags {
			long, letter, _ := strings.Cut(f.name, " ")
			for _, flag := range []bool{cmd.Flags().Lookup(long) != nil, letter != "" && cmd.Flags().ShorthandLookup(letter) != nil} {
				if flag && f.taken == "" {
					t.Errorf("cpc %s: --%s is offered", name, long)
				}
			}
		}
	}
}

// TestTakenFlags: what scripts write that means what cpc does anyway.
func TestTakenFlags(t *testing.T) {
	for _, line := range []string{
		"run --restart no --ipc private --pid= --uts private --userns auto --cgroupns private --privileged=false --publish-all=false",
		"run --sig-proxy --sig-proxy=true --no-healthcheck --disable-content-trust --init=false -d=false --oom-kill-disable=false",
		"run --memory-swappiness -1 --health-interval 0s --cgroups enabled --http-proxy=false --tls-verify=true --isolation default",
		"rm -v -f", "container rm -v", "ps --size=false", "container ls --sync", "exec --privileged=false", "attach --sig-proxy=true", "build --rm --force-rm=false --compress --provenance=mode=max --provenance --builder x --layers",
		"buildx build --builder x", "image build --rm", "builder build --rm", "builder prune -a", "save -q", "import -q", "pull --disable-content-trust", "update --restart no", "wait --condition stopped",
	} {
		words := strings.Fields(line)
		cmd, rest, err := newRoot(&app{}).Find(words)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil {
			t.Errorf("cpc %s: %v", line, flagFailure(cmd, err))
		}
	}
	for line, want := range map[string]string{
		"run --restart always":  "--restart=always is not offered: an exited sandbox",
		"run --privileged":      "--privileged is not offered: a sandbox never has",
		"run -itv /a:/b":        "-v is not offered: a sandbox sees no files",
		"ps -s":                 "--size is not offered: show the disk usage",
		"image rm --platform x": "--platform is not offered: remove the image",
		"ps -H tcp://x":         "-H is not offered: cpc has no server",
		"stop --debug":          "--debug is not offered: for details",
		"run --memroy 1g":       "unknown flag: --memroy: did you mean --memory?",
		"run --quite":           "unknown flag: --quite: did you mean --quiet?",
		"run --nosuch":          "unknown flag: --nosuch\n",
		"ps --inti":             "unknown flag: --inti\n",
		"events --quiet":        "unknown flag: --quiet\n",
	} {
		words := strings.Fields(line)
		cmd, rest, err := newRoot(&app{}).Find(words)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil || !strings.HasPrefix(flagFailure(cmd, err).Error(), want) {
			t.Errorf("cpc %s: %v, want %s", line, err, want)
		}
	}
}
