// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/profile"
)

// parseWith makes a request of a command line of cpc run and of what config.toml says.
func parseWith(t *testing.T, system, user, line string) (sandbox.RunRequest, error) {
	t.Helper()
	f := &runFlags{}
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(strings.Fields(line + " image")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []struct {
		text string
		into *config.File
		path string
	}{{system, &f.net.egress.Config.System, config.SystemPath}, {user, &f.net.egress.Config.User, "/home/user/config.toml"}} {
		var err error
		if *file.into, err = config.Parse(file.text); err != nil {
			t.Fatal(err)
		}
		file.into.Path = file.path
	}
	return f.request(fs, fs.Args())
}

// TestProfileOrder: a flag goes before a profile, that before config.toml, and that
// before what is built in. Each line is one kind of value.
func TestProfileOrder(t *testing.T) {
	t.Setenv("CPC_LIMITS", "")
	const mine = `
[profiles.mine]
memory = "1g"
pids-limit = 7
cpus = 0.5
oom = "sandbox"
limits = "best-effort"
read-only = false
disk = "1g"
init = true
stop-timeout = 3
tmpfs = ["/tmp:exec,size=9m", "/x:size=8m"]
ulimit = ["core=5", "stack=4"]
cap-add = ["FOWNER"]
cap-drop = ["CHOWN"]
security-opt = ["no-new-privileges=false", "seccomp=unconfined"]
sysctl = ["net.ipv4.ip_unprivileged_port_start=80"]
network = "none"
host-ca = false
[profiles.mine.root]
cap-add = ["DAC_OVERRIDE"]
`
	type request = sandbox.RunRequest
	tmpfs := func(r request) any {
		var all []string
		for _, m := range r.Options.Tmpfs {
			all = append(all, fmt.Sprintf("%s:%v:%d", m.Path, m.Exec, m.Size>>20))
		}
		return strings.Join(all, " ")
	}
	ulimits := func(r request) any {
		var all []string
		for _, u := range r.Options.Ulimits {
			all = append(all, fmt.Sprintf("%s:%d", u.Type[7:], u.Hard))
		}
		return strings.Join(all, " ")
	}
	caps := func(r request) any {
		have, err := r.Options.Capabilities()
		if err != nil {
			t.Error(err)
		}
		return strings.ReplaceAll(strings.Join(have, " "), "CAP_", "")
	}
	port := func(r request) any {
		if r.Options.PortStart == nil {
			return -1
		}
		return *r.Options.PortStart
	}
	const in = "--profile mine"
	for _, c := range []struct {
		line     string
		got      func(request) any
		builtIn  any // without the profile and the flag
		profile  any
		flag     string
		flagWins any // with both
	}{
		{in, func(r request) any { return r.Profile }, "sandbox", "mine", "", "mine"},
		{in, func(r request) any { return r.Options.Limits.Memory >> 20 }, int64(2048), int64(1024), "--memory 20m", int64(20)},
		{in, func(r request) any { return r.Options.Limits.Pids }, int64(100), int64(7), "--pids-limit 8", int64(8)},
		{in, func(r request) any { return r.Options.Limits.MilliCPU }, int64(1000), int64(500), "--cpus 0.25", int64(250)},
		{in, func(r request) any { return r.Options.Limits.Processors() }, 1.0, 0.5, "--cpu-quota 20000", 0.2},
		{in, func(r request) any { return r.Options.Limits.OOMGroup }, false, true, "--oom process", false},
		{in, func(r request) any { return r.BestEffort }, false, true, "--limits enforce", false},
		{in, func(r request) any { return r.Options.ReadOnly }, true, false, "--read-only", true},
		{in, func(r request) any { return r.Options.Disk >> 20 }, int64(10240), int64(1024), "--disk 20m", int64(20)},
		{in, func(r request) any { return r.Options.Disk >> 20 }, int64(10240), int64(1024), "--storage-opt size=30m", int64(30)},
		{in, func(r request) any { return r.Options.Init }, false, true, "--init=false", false},
		{in, func(r request) any { return r.StopTimeout }, 10, 3, "--stop-timeout 10", 10},
		{in, tmpfs, "/tmp:false:448", "/tmp:true:9 /x:false:8", "--tmpfs /tmp:size=3m", "/x:false:8 /tmp:false:3"},
		{in, ulimits, "", "CORE:5 STACK:4", "--ulimit core=0", "STACK:4 CORE:0"},
		{in, caps, "CHOWN SETGID SETUID", "FOWNER SETGID SETUID", "--cap-add SYS_PTRACE --cap-drop FOWNER", "SETGID SETUID SYS_PTRACE"},
		{in, func(r request) any { return r.Options.CapRoot }, []string(nil), []string{"CAP_DAC_OVERRIDE"}, "", []string{"CAP_DAC_OVERRIDE"}},
		{in, func(r request) any { return r.Options.NoNewPrivileges }, true, false, "--security-opt no-new-privileges", true},
		{in, func(r request) any { return r.Options.Seccomp }, "", "unconfined", "--security-opt apparmor=unconfined", "unconfined"},
		{in, port, -1, 80, "--sysctl net.ipv4.ip_unprivileged_port_start=0", 0},
		{in, func(r request) any { return r.Options.Network }, "allowlist", "none", "--network allowlist", "allowlist"},
		{in, func(r request) any { return r.Options.Network }, "allowlist", "none", "--net allowlist", "allowlist"},
	} {
		for _, try := range []struct {
			name, system, user, line string
			want                     any
		}{
			{"built in", "", mine, "", c.builtIn},
			{"the profile", "", mine, c.line, c.profile},
			{"the user's file", "", "profile = 'mine'\n" + mine, "", c.profile},
			{"the administrator's file", "profile = 'mine'\n" + mine, "", "", c.profile},
			{"the flag", "profile = 'mine'\n" + mine, "", c.flag, c.flagWins},
			{"another profile", "profile = 'mine'\n" + mine, "", "--profile sandbox", c.builtIn},
		} {
			r, err := parseWith(t, try.system, try.user, try.line)
			if err != nil {
				t.Errorf("%s of %q %s: %v", try.name, c.flag, try.line, err)
				continue
			}
			if got := c.got(r); !reflect.DeepEqual(got, try.want) {
				t.Errorf("%s of %q %s: %v, want %v", try.name, c.flag, try.line, got, try.want)
			}
		}
	}
}

// TestProfileBeforeConfig: a profile goes before the rest of config.toml.
func TestProfileBeforeConfig(t *testing.T) {
	const conf = "[network]\nhost-ca = '/no/such/file'\n"
	if _, err := parseWith(t, "", conf, ""); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("config.toml alone: %v", err)
	}
	if r, err := parseWith(t, "", conf+"[profiles.mine]\nhost-ca = false\n", "--profile mine"); err != nil || r.Network.HostCA.Path != "" {
		t.Errorf("the profile: %v, %v", r.Network.HostCA, err)
	}
}

// TestEnvironmentBeforeProfile: CPC_LIMITS goes before the profile, as before config.toml.
func TestEnvironmentBeforeProfile(t *testing.T) {
	const mine = "[profiles.mine]\nlimits = 'best-effort'\n"
	t.Setenv("CPC_LIMITS", "enforce")
	if r, err := parseWith(t, "", mine, "--profile mine"); err != nil || r.BestEffort {
		t.Errorf("best effort: %v, %v", r.BestEffort, err)
	}
}

// TestShippedProfiles: sandbox is what holds without a profile; work differs from it in
// what docs/profiles.md lists, and in nothing else.
func TestShippedProfiles(t *testing.T) {
	t.Setenv("CPC_LIMITS", "")
	set, err := profile.New(config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	options := map[string]bundle.Options{}
	for _, p := range set.All() {
		if options[p.Name], err = optionsOf(p); err != nil {
			t.Fatal(err)
		}
	}
	want := bundle.Defaults()
	want.BoundTmpfs(nil, false)
	if !reflect.DeepEqual(options["sandbox"], want) {
		t.Errorf("sandbox: %+v\ndefaults: %+v", options["sandbox"], want)
	}
	weaker, err := options["work"].Weaker(options["sandbox"])
	got := strings.Join(weaker, "\n")
	if err != nil || got != `--memory 4GiB (at most 2GiB)
--memory-swap 4GiB (at most 2GiB)
--pids-limit 1024 (at most 100)
--shm-size 512MiB (at most 64MiB)
--sysctl net.ipv4.ip_unprivileged_port_start=0 (at least 1024)
--tmpfs /tmp:exec
--ulimit core
--cap-add DAC_OVERRIDE for root
--cap-add FOWNER for root` {
		t.Errorf("work against sandbox, %v:\n%s", err, got)
	}
	if less, err := options["sandbox"].Weaker(options["work"]); err != nil || len(less) > 0 {
		t.Errorf("sandbox against work: %q, %v", less, err)
	}
}

// TestMinimum: neither flags nor profiles nor the environment go below what the
// administrator has set, and what is as strict is let be.
func TestMinimum(t *testing.T) {
	t.Setenv("CPC_LIMITS", "")
	const site = "minimum = 'site'\n[profiles.site]\nbase = 'sandbox'\nmemory = '1g'\n"
	for line, want := range map[string]string{
		"":                     "--memory 64GiB", // the user's profile of the minimum's name
		"--profile strict":     "",
		"--memory 1g":          "",
		"--memory 100m":        "",
		"--memory 1025m":       "--memory 1.001GiB (at most 1GiB)",
		"--profile sandbox":    "--memory 2GiB",
		"--profile work":       "--pids-limit 1024",
		"--profile mine":       "--read-only=false",
		"--profile site":       "--memory 64GiB", // the user's of that name
		"--cap-add ALL":        "--cap-add SYS_ADMIN",
		"--limits best-effort": "--limits best-effort",
		"--network host":       "--network host",
	} {
		_, err := parseWith(t, site, "[profiles.mine]\nread-only = false\nmemory = '1g'\n[profiles.strict]\nmemory = '9m'\n[profiles.site]\nmemory = '64g'\n", line)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
		if err != nil && !strings.Contains(hint.Of(err), config.SystemPath) {
			t.Errorf("%q: hint %q", line, hint.Of(err))
		}
	}
	if r, err := parseWith(t, site, "", ""); err != nil || r.Profile != "site" || r.Options.Limits.Memory != 1<<30 {
		t.Errorf("without a word: %s, %v", r.Profile, err)
	}
	t.Setenv("CPC_LIMITS", "best-effort")
	if _, err := parseWith(t, site, "", ""); err == nil || !strings.Contains(err.Error(), "--limits best-effort") {
		t.Errorf("CPC_LIMITS: %v", err)
	}
	if _, err := parseWith(t, site+"limits = 'best-effort'\n", "", ""); err != nil {
		t.Errorf("CPC_LIMITS, where it may be: %v", err)
	}
}

// TestProfileErrors: what is wrong with a profile is said of it, not of the command line.
func TestProfileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"memory = 'much'":                         "profile mine (/home/user/config.toml): --memory",
		"pids-limit = 'x'":                        "profile mine (/home/user/config.toml): --pids-limit",
		"read-only = 'maybe'":                     `profile mine (/home/user/config.toml): profile mine: read-only "maybe"`,
		"tmpfs = ['x']":                           "profile mine (/home/user/config.toml): --tmpfs",
		"cap-add = ['FLY']":                       "profile mine (/home/user/config.toml): cap-add",
		"sysctl = ['kernel.x=1']":                 "profile mine (/home/user/config.toml): --sysctl kernel.x is not offered",
		"security-opt = ['x']":                    "profile mine (/home/user/config.toml): --security-opt",
		"ulimit = ['none=1']":                     "profile mine (/home/user/config.toml): --ulimit",
		"network = 'everything'":                  "profile mine (/home/user/config.toml): invalid value",
		"[profiles.mine.root]\ncap-add = ['FLY']": "profile mine (/home/user/config.toml): cap-add",
	} {
		if _, err := parseWith(t, "", "[profiles.mine]\n"+strings.TrimPrefix(text, "[profiles.mine]\n"), "--profile mine"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestSysctl(t *testing.T) {
	for line, want := range map[string]string{
		"--sysctl net.ipv4.ip_unprivileged_port_start=0":                 "",
		"--sysctl net.ipv4.ip_unprivileged_port_start=65536":             "must be a port",
		"--sysctl net.ipv4.ip_unprivileged_port_start":                   "must be a port",
		"--sysctl net.ipv4.ip_forward=1":                                 "is not offered",
		"--network host --sysctl net.ipv4.ip_unprivileged_port_start=80": "--network host",
		"--network host --profile work":                                  "",
	} {
		if _, err := parseWith(t, "", "", line); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}
