// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/claude-pocket-console/cpc/sandbox"
)

// parse makes a request of a command line of cpc run.
func parse(t *testing.T, args ...string) (sandbox.RunRequest, error) {
	t.Helper()
	f := &runFlags{}
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.request(fs, fs.Args())
}

func TestRequestDefaults(t *testing.T) {
	t.Setenv("CPC_LIMITS", "")
	r, err := parse(t, "image")
	if err != nil {
		t.Fatal(err)
	}
	l := r.Options.Limits
	if l.Memory != 2<<30 || l.MilliCPU != 1000 || l.Pids != 100 {
		t.Errorf("limits %+v", l)
	}
	if !r.Options.ReadOnly || !r.Options.NoNewPrivileges || r.Options.Network != "allowlist" || r.Options.Seccomp != "" {
		t.Errorf("options %+v", r.Options)
	}
	if r.BestEffort || r.AutoRemove || r.Detach || r.Stdin || r.Options.TTY || r.StopTimeout != 10 {
		t.Errorf("request %+v", r)
	}
}

func TestRequest(t *testing.T) {
	t.Setenv("CPC_TEST_VAR", "inherited")
	envFile := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(envFile, []byte("# comment\nFROM_FILE=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		got  func(r sandbox.RunRequest) any
		want any
	}{
		{"-it --rm image sh -c ls", func(r sandbox.RunRequest) any { return []any{r.Stdin, r.Options.TTY, r.AutoRemove} }, []any{true, true, true}},
		{"image sh --rm -it", func(r sandbox.RunRequest) any { return r.Options.Args }, []string{"sh", "--rm", "-it"}},
		{"-d image", func(r sandbox.RunRequest) any { return r.Detach }, true},
		{"-m 512m image", func(r sandbox.RunRequest) any { return r.Options.Limits.Memory }, int64(512 << 20)},
		{"--cpus 0.5 image", func(r sandbox.RunRequest) any { return r.Options.Limits.MilliCPU }, int64(500)},
		{"--pids-limit -1 image", func(r sandbox.RunRequest) any { return r.Options.Limits.Pids }, int64(0)},
		{"--cpu-quota 20000 --cpu-period 50000 image", func(r sandbox.RunRequest) any {
			l := r.Options.Limits
			return []int64{l.MilliCPU, l.Quota, l.Period}
		}, []int64{0, 20000, 50000}},
		{"--cpu-quota -1 image", func(r sandbox.RunRequest) any { return []int64{r.Options.Limits.MilliCPU, r.Options.Limits.Quota} }, []int64{0, 0}},
		{"-c 512 --cpuset-cpus 0 --cpuset-mems 0 --blkio-weight 300 image", func(r sandbox.RunRequest) any {
			l := r.Options.Limits
			return []any{l.Shares, l.CPUs, l.Mems, l.IOWeight}
		}, []any{int64(512), "0", "0", int64(300)}},
		{"--memory 1g --memory-swap -1 --memory-reservation 512m --memory-high 900m image", func(r sandbox.RunRequest) any {
			l := r.Options.Limits
			return []int64{l.Swap, l.Reservation, l.High}
		}, []int64{-1, 512 << 20, 900 << 20}},
		{"--read-only=false image", func(r sandbox.RunRequest) any { return r.Options.ReadOnly }, false},
		{"-e A=1 -e CPC_TEST_VAR image", func(r sandbox.RunRequest) any { return r.Options.Env }, []string{"A=1", "CPC_TEST_VAR=inherited"}},
		{"--env-file " + envFile + " -e A=1 image", func(r sandbox.RunRequest) any { return r.Options.Env }, []string{"FROM_FILE=1", "A=1"}},
		{"--entrypoint= image", func(r sandbox.RunRequest) any { return *r.Options.Entrypoint }, ""},
		{"image", func(r sandbox.RunRequest) any { return r.Options.Entrypoint == nil }, true},
		{"-h box -u 1000:50 -w /tmp image", func(r sandbox.RunRequest) any {
			return []string{r.Options.Hostname, r.Options.User, r.Options.Workdir}
		}, []string{"box", "1000:50", "/tmp"}},
		{"-l a=1 --label b image", func(r sandbox.RunRequest) any { return r.Labels }, map[string]string{"a": "1", "b": ""}},
		{"--limits best-effort image", func(r sandbox.RunRequest) any { return r.BestEffort }, true},
		{"--net host image", func(r sandbox.RunRequest) any { return r.Options.Network }, "host"},
		{"--security-opt no-new-privileges=false image", func(r sandbox.RunRequest) any { return r.Options.NoNewPrivileges }, false},
		{"--security-opt seccomp=unconfined image", func(r sandbox.RunRequest) any { return r.Options.Seccomp }, "unconfined"},
		{"--stop-signal INT --stop-timeout 3 image", func(r sandbox.RunRequest) any { return []any{r.Options.StopSignal, r.StopTimeout} }, []any{"INT", 3}},
		{"--group-add audio --group-add 7 --domainname dom.example --expose 80-81/udp --log-driver none image", func(r sandbox.RunRequest) any {
			o := r.Options
			return []any{o.GroupAdd, o.Domainname, o.Expose, o.NoLog}
		}, []any{[]string{"audio", "7"}, "dom.example", []string{"80/udp", "81/udp"}, true}},
		{"--log-driver json-file --log-opt max-size=10m --log-opt max-file=3 image", func(r sandbox.RunRequest) any { return r.Options.NoLog }, false},
		{"--mount type=tmpfs,target=/data,tmpfs-size=1m image", func(r sandbox.RunRequest) any { return r.Options.Tmpfs[len(r.Options.Tmpfs)-1].Options() }, "rw,noexec,nosuid,nodev,size=1048576"},
		{"--label-file " + envFile + " -l A=2 image", func(r sandbox.RunRequest) any { return r.Labels }, map[string]string{"FROM_FILE": "1", "A": "2"}},
		{"--annotation a=b image", func(r sandbox.RunRequest) any { return r.Options.Annotations }, map[string]string{"a": "b"}},
		{"--shm-size 1m image", func(r sandbox.RunRequest) any { return r.Options.ShmSize }, int64(1 << 20)},
	} {
		r, err := parse(t, strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if got := c.got(r); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, want %#v", c.args, got, c.want)
		}
	}
}

func TestRequestRefuses(t *testing.T) {
	for _, c := range []struct{ flag, value, names string }{
		{"--memory", "2x", "--memory"},
		{"--memory", "-1", "--memory"},
		{"--cpus", "many", "--cpus"},
		{"--cpus", "100000", "--cpus"},
		{"--pids-limit", "1.5", "--pids-limit"},
		{"--memory-swap", "1g", "memory-swap"}, // less than the default memory limit
		{"--memory-swap", "-2", "--memory-swap"},
		{"--memory-reservation", "3g", "memory-reservation"},
		{"--memory-high", "3g", "memory-high"},
		{"--cpu-shares", "1", "cpu-shares"},
		{"--cpu-period", "10", "cpu-period"},
		{"--cpu-quota", "10", "cpu-quota"},
		{"--cpuset-cpus", "a", "cpuset"},
		{"--cpuset-mems", "3-1", "cpuset"},
		{"--blkio-weight", "5", "blkio-weight"},
		{"--device-read-bps", "/dev/null:1m", "--device-read-bps"},
		{"--device-write-bps", "/dev/null", "--device-write-bps"},
		{"--device-read-iops", "/dev/sda:1m", "--device-read-iops"},
		{"--device-write-iops", "/nosuch:5", "--device-write-iops"},
		{"--limits", "never", "--limits"},
		{"--pull", "sometimes", "--pull"},
		{"--network", "container:x", "--network"},
		{"--add-host", "x", "--add-host"},
		{"--dns", "x", "--dns"},
		{"--dns-search", "a b", "--dns-search"},
		{"--dns-option", "a b", "--dns-option"},
		{"--egress", "a b", "--egress"},
		{"--egress-file", "/nosuch", "--egress-file"},
		{"--host-ca", "/nosuch", "--host-ca"},
		{"--name", "a/b", "--name"},
		{"--name", "-x", "--name"},
		{"--hostname", "a b", "--hostname"},
		{"--user", "a b", "--user"},
		{"--workdir", "rel", "--workdir"},
		{"--stop-signal", "NOSUCH", "--stop-signal"},
		{"--tmpfs", "rel:size=1m", "--tmpfs"},
		{"--tmpfs", "/tmp:nosuch", "--tmpfs"},
		{"--env", "=x", "--env"},
		{"--env-file", "/nosuch", "--env-file"},
		{"--cap-add", "NOSUCH", "--cap-add"},
		{"--cap-drop", "NOSUCH", "--cap-drop"},
		{"--security-opt", "nosuch", "--security-opt"},
		{"--ulimit", "nofile=5:1", "--ulimit"},
		{"--shm-size", "big", "--shm-size"},
		{"--label", "=x", "--label"},
		{"--label-file", "/nosuch", "--label-file"},
		{"--group-add", "a b", "--group-add"},
		{"--group-add", "", "--group-add"},
		{"--group-add", "keep-groups", "--group-add"},
		{"--domainname", "a b", "--domainname"},
		{"--expose", "http", "--expose"},
		{"--mount", "type=tmpfs", "--mount"},
		{"--mount", "type=bind,src=/,dst=/x", "--mount"},
		{"--mount", "src=vol,dst=/x", "--mount"},
		{"--attach", "all", "--attach"},
		{"--log-driver", "journald", "--log-driver"},
		{"--log-opt", "tag=x", "--log-opt"},
		{"--annotation", "=x", "--annotation"},
	} {
		_, err := parse(t, c.flag+"="+c.value, "image")
		if err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s=%s: error %v, want one that names the flag", c.flag, c.value, err)
		}
	}
}

func TestBestEffortFromEnvironment(t *testing.T) {
	t.Setenv("CPC_LIMITS", "best-effort")
	if r, err := parse(t, "image"); err != nil || !r.BestEffort {
		t.Errorf("%+v, %v", r.BestEffort, err)
	}
	t.Setenv("CPC_LIMITS", "nosuch")
	if _, err := parse(t, "image"); err == nil {
		t.Error("CPC_LIMITS=nosuch was accepted")
	}
}
