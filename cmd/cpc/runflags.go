// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dockerflag"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// runFlags are the flags of cpc run as they were typed.
type runFlags struct {
	interactive, tty, detach, rm, init, readOnly, dryRun, shmGiven bool

	name, user, workdir, hostname, entrypoint                                 string
	shmSize, network, detachKeys, pull, platform, limits, stopSignal, cidfile string
	env, envFiles, labels, tmpfs, securityOpts, capAdd, capDrop               []string
	ulimits, sysctls                                                          []string
	stopTimeout, oomScoreAdj                                                  int
	profile                                                                   profileFlags
	disk                                                                      diskFlags
	limited                                                                   limitFlags
	net                                                                       netFlags
	more                                                                      moreFlags
}

const (
	defaultKeys = "ctrl-p,ctrl-q"
	// stopTimeout is how many seconds a program has after its stop signal.
	defaultStopTimeout = 10

	limitsEnforce    = "enforce"
	limitsBestEffort = "best-effort"
)

func (f *runFlags) register(fs *pflag.FlagSet) {
	fs.SetInterspersed(false)
	fs.Bool("help", false, "Show this help")
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "Keep standard input open")
	fs.BoolVarP(&f.tty, "tty", "t", false, "Allocate a terminal")
	fs.BoolVarP(&f.detach, "detach", "d", false, "Run in the background and print the id of the sandbox")
	fs.BoolVar(&f.rm, "rm", false, "Remove the sandbox (its record and log) when it exits")
	fs.StringVar(&f.name, "name", "", "`NAME` of the sandbox")
	f.profile.register(fs)
	f.limited.register(fs, "2g", "1.0", "100")
	f.limited.registerOOM(fs, cgroups.OOMProcess)
	fs.StringVar(&f.limits, "limits", defaultLimits(), "`MODE`: enforce, or best-effort to run even if limits cannot be enforced")
	fs.BoolVar(&f.readOnly, "read-only", true, "Mount the root file system read-only")
	f.disk.register(fs)
	fs.StringArrayVar(&f.tmpfs, "tmpfs", nil, "Mount a tmpfs: `PATH[:OPTIONS]`")
	fs.StringVar(&f.shmSize, "shm-size", "64m", "Size of /dev/shm in `BYTES`")
	fs.StringArrayVar(&f.securityOpts, "security-opt", nil, "`OPTION`: no-new-privileges[=false], seccomp=FILE|unconfined, apparmor=PROFILE|unconfined, label=disable or label=type:TYPE")
	fs.StringArrayVar(&f.capAdd, "cap-add", nil, "Add a `CAPABILITY`")
	fs.StringArrayVar(&f.capDrop, "cap-drop", nil, "Drop a `CAPABILITY`, or ALL")
	fs.StringArrayVar(&f.ulimits, "ulimit", nil, "Resource limit: `NAME=SOFT[:HARD]`")
	fs.StringArrayVar(&f.sysctls, "sysctl", nil, "Kernel parameter of the network: net.ipv4.ip_unprivileged_port_start=`PORT`, the first port that any user can listen on; 0 is all")
	fs.IntVar(&f.oomScoreAdj, "oom-score-adj", 0, "`NUMBER` from -999 to 1000: the higher, the sooner the kernel kills the sandbox when the host runs out of memory (default: that of cpc)")
	fs.StringVarP(&f.user, "user", "u", "", "`USER[:GROUP]` to run as, by name or id (default: the user of the image, or 1000)")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "Working `DIRECTORY` in the sandbox")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "Set an environment variable: `NAME[=VALUE]`")
	fs.StringArrayVar(&f.envFiles, "env-file", nil, "Read environment variables from `FILE`")
	fs.StringVarP(&f.hostname, "hostname", "h", "", "Host `NAME` of the sandbox")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "`COMMAND` that replaces the entrypoint of the image")
	fs.StringArrayVarP(&f.labels, "label", "l", nil, "Add a label to the sandbox: `KEY[=VALUE]`")
	fs.BoolVar(&f.init, "init", false, "Run an init process that forwards signals and reaps processes")
	fs.StringVar(&f.stopSignal, "stop-signal", "", "`SIGNAL` that cpc stop sends (default: the stop signal of the image, or SIGTERM)")
	fs.IntVar(&f.stopTimeout, "stop-timeout", defaultStopTimeout, "`SECONDS` that cpc stop waits before it kills the sandbox")
	fs.StringVar(&f.network, "network", bundle.NetworkAllowlist, "`NETWORK`: allowlist (only the hosts of --egress or of the default policy), none or host")
	fs.StringVar(&f.network, "net", bundle.NetworkAllowlist, "The same as --network")
	_ = fs.MarkHidden("net") // it exists: see the line above
	f.net.register(fs)
	f.net.registerDNS(fs)
	fs.StringVar(&f.detachKeys, "detach-keys", defaultKeys, "`KEYS` that detach from the terminal without ending the program")
	f.more.register(fs)
	fs.StringVar(&f.pull, "pull", pullMissing, "`WHEN` to pull the image: always, missing or never")
	fs.StringVar(&f.cidfile, "cidfile", "", "Write the id to `FILE`")
	fs.BoolVar(&f.dryRun, "dry-run", false, "Print the config.json of the OCI bundle and run nothing")
}

func defaultLimits() string {
	if v := os.Getenv("CPC_LIMITS"); v != "" {
		return v
	}
	return limitsEnforce
}

// request makes sense of the flags.
func (f *runFlags) request(fs *pflag.FlagSet, args []string) (sandbox.RunRequest, error) {
	if err := f.useProfile(fs); err != nil {
		return sandbox.RunRequest{}, err
	}
	req := sandbox.RunRequest{
		Name: f.name, DryRun: f.dryRun,
		Asked: record.Asked{
			Image: args[0], Profile: f.profile.chosen.Name,
			Stdin: f.interactive, AutoRemove: f.rm, Detach: f.detach, StopTimeout: f.stopTimeout,
		},
	}
	if err := f.options(fs, &req); err != nil {
		return req, err
	}
	if err := heldBack(f.net.egress.Config, req.Options.Weaker, req.BestEffort); err != nil {
		return req, err
	}
	req.Options.Args = args[1:]
	var err error
	req.Network, err = f.net.parse(f.said(fs), req.Options.Network)
	return req, err
}

// options makes sense of the flags but for what is about names outside.
func (f *runFlags) options(fs *pflag.FlagSet, req *sandbox.RunRequest) error {
	req.Options = bundle.Defaults()
	f.shmGiven = fs.Changed("shm-size")
	o := &req.Options
	o.TTY, o.ReadOnly, o.Init = f.tty, f.readOnly, f.init
	if f.tty {
		o.Terminal = bundle.Terminal{Term: os.Getenv("TERM"), ColorTerm: os.Getenv("COLORTERM")}
	}
	o.User, o.Workdir, o.Hostname, o.StopSignal = f.user, f.workdir, f.hostname, f.stopSignal
	if err := f.disk.parse(fs, o); err != nil {
		return err
	}
	if fs.Changed("oom-score-adj") {
		o.OOMScoreAdj = &f.oomScoreAdj
	}
	if fs.Changed("entrypoint") {
		o.Entrypoint = &f.entrypoint
	}
	if err := errors.Join(f.limited.apply(f.said(fs), &o.Limits), o.Limits.Validate()); err != nil {
		return err
	}
	for _, step := range []func(*sandbox.RunRequest) error{
		f.check, f.parseLimits, f.parseEnv, f.parseMounts, f.more.parse, f.parseSecurity, f.parseLabels,
	} {
		if err := step(req); err != nil {
			return err
		}
	}
	net, note, err := networkNamed(f.network)
	if err != nil {
		return err
	}
	if note != "" {
		f.net.egress.Note(note)
	}
	if o.Network = net; net == bundle.NetworkHost && len(f.sysctls) > 0 {
		return errPortsOfHost
	}
	return parseSysctls(slices.Concat(f.profile.values["sysctl"], f.sysctls), o)
}

// check refuses values that are no choice.
func (f *runFlags) check(req *sandbox.RunRequest) error {
	if when, ok := map[string]string{"true": pullAlways, "newer": pullAlways, "false": pullMissing, "": pullMissing}[f.pull]; ok {
		f.pull = when // podman's
	}
	for _, c := range []struct {
		flag, value string
		allowed     []string
	}{
		{"--limits", f.limits, []string{limitsEnforce, limitsBestEffort}},
		{"--pull", f.pull, []string{pullAlways, pullMissing, pullNever}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return fmt.Errorf("invalid value %q for %s: choose %s", c.value, c.flag, strings.Join(c.allowed, ", "))
		}
	}
	req.BestEffort = f.limits == limitsBestEffort
	if f.name != "" {
		if err := dockerflag.CheckName(f.name); err != nil {
			return flagError("--name", err)
		}
	}
	if f.hostname != "" {
		if err := dockerflag.CheckHostname(f.hostname); err != nil {
			return flagError("--hostname", err)
		}
	}
	if f.user != "" {
		if _, err := dockerflag.ParseUser(f.user); err != nil {
			return flagError("--user", err)
		}
	}
	if f.workdir != "" && !strings.HasPrefix(f.workdir, "/") {
		return fmt.Errorf("invalid value %q for --workdir: must be an absolute path", f.workdir)
	}
	if f.stopSignal != "" {
		if _, err := dockerflag.ParseSignal(f.stopSignal); err != nil {
			return flagError("--stop-signal", err)
		}
	}
	if f.detach && f.dryRun {
		return errors.New("--dry-run runs nothing, so --detach has no meaning with it")
	}
	return nil
}

func flagError(flag string, err error) error { return fmt.Errorf("%s: %w", flag, err) }

// parseLimits makes sense of the limits that are not the cgroup's.
func (f *runFlags) parseLimits(req *sandbox.RunRequest) (err error) {
	if req.Options.ShmSize, err = dockerflag.ParseSize(f.shmSize); err != nil {
		return flagError("--shm-size", err)
	}
	ulimits, err := f.profileUlimits()
	if err != nil {
		return err
	}
	given, err := parseUlimits(f.ulimits)
	for _, l := range given {
		ulimits = slices.DeleteFunc(ulimits, func(u specs.POSIXRlimit) bool { return u.Type == l.Type })
	}
	req.Options.Ulimits = slices.Concat(ulimits, given)
	return err
}

func parseUlimits(given []string) (limits []specs.POSIXRlimit, err error) {
	for _, u := range given {
		limit, err := dockerflag.ParseUlimit(u)
		if err != nil {
			return nil, flagError("--ulimit", err)
		}
		limits = append(limits, limit)
	}
	return limits, nil
}

func (f *runFlags) parseEnv(req *sandbox.RunRequest) error {
	for _, file := range f.envFiles {
		env, err := readEnvFile(file)
		if err != nil {
			return flagError("--env-file", err)
		}
		req.Options.Env = append(req.Options.Env, env...)
	}
	env, err := parseEnv(f.env)
	if err != nil {
		return err
	}
	req.Options.Env = append(req.Options.Env, env...)
	return nil
}

func parseEnv(given []string) (env []string, err error) {
	for _, e := range given {
		v, err := dockerflag.ParseEnv(e, os.LookupEnv)
		if err != nil {
			return nil, flagError("--env", err)
		}
		env = append(env, v)
	}
	return env, nil
}

func readEnvFile(path string) ([]string, error) { return readKeyFile(path, os.LookupEnv) }

// readKeyFile reads lines of KEY=VALUE; a KEY alone is looked up.
func readKeyFile(path string, lookup dockerflag.LookupEnv) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	env, err := dockerflag.ParseEnvFile(file, lookup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return env, nil
}

func (f *runFlags) parseMounts(req *sandbox.RunRequest) error {
	defaults, err := parseTmpfs(f.profile.values["tmpfs"])
	if err != nil {
		return err
	}
	given, err := parseTmpfs(f.tmpfs)
	if err != nil {
		return err
	}
	o := &req.Options
	o.Tmpfs = bundle.MergeTmpfs(bundle.MergeTmpfs(o.Tmpfs, defaults), given)
	o.BoundTmpfs(given, f.shmGiven)
	return nil
}

func parseTmpfs(given []string) (mounts []bundle.Tmpfs, err error) {
	for _, t := range given {
		mount, err := dockerflag.ParseTmpfs(t)
		if err != nil {
			return nil, flagError("--tmpfs", err)
		}
		mounts = append(mounts, mount)
	}
	return mounts, nil
}

func (f *runFlags) parseSecurity(req *sandbox.RunRequest) error {
	if err := f.profileCaps(&req.Options); err != nil {
		return err
	}
	req.SecurityOpt = append(f.profileSecurity(), f.securityOpts...)
	for _, list := range []struct {
		flag  string
		given []string
		into  *[]string
	}{
		{"--cap-add", f.capAdd, &req.Options.CapAdd}, {"--cap-drop", f.capDrop, &req.Options.CapDrop},
	} {
		for _, c := range list.given {
			capability, err := dockerflag.ParseCap(c)
			if err != nil {
				return flagError(list.flag, err)
			}
			*list.into = append(*list.into, capability)
		}
	}
	s, err := dockerflag.ParseSecurity(req.SecurityOpt)
	if err != nil {
		return flagError("--security-opt", err)
	}
	if s.NoNewPrivileges != nil {
		req.Options.NoNewPrivileges = *s.NoNewPrivileges
	}
	req.Options.Seccomp, req.Options.AppArmor, req.Options.SELinux = s.Seccomp, s.AppArmor, s.Labels
	return nil
}

func (f *runFlags) parseLabels(req *sandbox.RunRequest) error {
	req.Labels = map[string]string{}
	fromFiles, err := f.more.labels()
	if err != nil {
		return err
	}
	for _, l := range slices.Concat(fromFiles, f.labels) {
		key, value, err := dockerflag.ParseLabel(l)
		if err != nil {
			return flagError("--label", err)
		}
		req.Labels[key] = value
	}
	return nil
}

func (f *runFlags) keys() ([]byte, error) { return parseKeys(f.detachKeys) }

func parseKeys(s string) ([]byte, error) {
	keys, err := dockerflag.ParseDetachKeys(s)
	if err != nil {
		return nil, flagError("--detach-keys", err)
	}
	return keys, nil
}
