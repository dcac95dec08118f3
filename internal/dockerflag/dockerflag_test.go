// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// parseCase is one value: want is printed with %v, "" means that it is refused;
// says is what the error must mention.
type parseCase struct{ in, want, says string }

func check[T any](t *testing.T, parse func(string) (T, error), cases []parseCase) {
	t.Helper()
	for _, c := range cases {
		got, err := parse(c.in)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%q: accepted as %v", c.in, got)
		case c.want == "" && !strings.Contains(err.Error(), c.says):
			t.Errorf("%q: error %q does not mention %q", c.in, err, c.says)
		case c.want != "" && (err != nil || fmt.Sprint(got) != c.want):
			t.Errorf("%q: %v, %v; want %s", c.in, got, err, c.want)
		}
	}
}

func TestParseSize(t *testing.T) {
	check(t, ParseSize, []parseCase{
		{in: "0", want: "0"},
		{in: "1024", want: "1024"},
		{in: "512m", want: "536870912"},
		{in: "2g", want: "2147483648"},
		{in: "2G", want: "2147483648"},
		{in: "2gb", want: "2147483648"},
		{in: "2GiB", want: "2147483648"},
		{in: "1.5k", want: "1536"},
		{in: "7b", want: "7"},
		{in: "1 k", want: "1024"},
		{in: "9223372036854775807", want: "9223372036854775807"},
		{in: "0.1k", want: "102"},
		{in: "9223372036854775808", says: "too large"},
		{in: "99999999999999p", says: "too large"},
		{in: "8192p", says: "too large"},
		{in: ""},
		{in: "g"},
		{in: "-1"},
		{in: "-1g"},
		{in: "+1"},
		{in: "1x"},
		{in: "1gg"},
		{in: "1.2.3k"},
		{in: "1e9"},
		{in: "0x10"},
		{in: "1_0"},
		{in: " 1"},
		{in: "1  k"},
		{in: "inf"},
		{in: "NaN"},
		{in: "1/2"},
		{in: ".5k"},
		{in: "5.k"},
		{in: strings.Repeat("9", 400)},
	})
}

func TestParseMemory(t *testing.T) {
	check(t, ParseMemory, []parseCase{
		{in: "6m", want: "6291456"}, {in: "0", want: "0"}, {in: "6291455", says: "minimum is 6m"}, {in: "1", says: "minimum is 6m"}, {in: "lots", says: `"lots"`},
	})
}

func TestParseCPUs(t *testing.T) {
	four := func(s string) (int64, error) { return ParseCPUs(s, 4) }
	check(t, four, []parseCase{
		{in: "1.0", want: "1000"},
		{in: "0.5", want: "500"},
		{in: "4", want: "4000"},
		{in: "0", want: "0"},
		{in: "0.01", want: "10"},
		{in: "1.125", want: "1125"},
		{in: "4.001", says: "0.01 to 4.00"},
		{in: "5", says: "this host has 4"},
		{in: "0.009", says: "minimum"},
		{in: "1.0001", says: "decimals"},
		{in: ""},
		{in: "-1"},
		{in: "1/2"},
		{in: "1e1"},
		{in: "one"},
		{in: "+1"},
		{in: "."},
		{in: strings.Repeat("1", 100)},
	})
}

func TestParsePids(t *testing.T) {
	check(t, ParsePids, []parseCase{
		{in: "100", want: "100"},
		{in: "-1", want: "0"},
		{in: "0", want: "0"},
		{in: "-2"},
		{in: ""},
		{in: "1.5"},
		{in: "x"},
		{in: "99999999999", says: "too large"},
		{in: "99999999999999999999", says: "too large"},
	})
}

func TestParseTmpfs(t *testing.T) {
	mode, id := uint32(0o1770), uint32(1000)
	for in, want := range map[string]Tmpfs{
		"/tmp":                                   {Path: "/tmp"},
		"/tmp:rw,noexec,nosuid,size=1g":          {Path: "/tmp", Size: 1 << 30},
		"/home/sandbox:rw,exec,nosuid,size=1g":   {Path: "/home/sandbox", Size: 1 << 30, Exec: true},
		"/a:ro,suid,nodev,mode=1770,uid=1000":    {Path: "/a", ReadOnly: true, Suid: true, Mode: &mode, UID: &id},
		"/a:exec,noexec,ro,rw,gid=1000,size=64k": {Path: "/a", GID: &id, Size: 65536},
		"/a:nr_inodes=10k":                       {Path: "/a", Inodes: 10240},
		"/a:":                                    {Path: "/a"},
	} {
		got, err := ParseTmpfs(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
	check(t, ParseTmpfs, []parseCase{
		{in: "", says: "absolute"},
		{in: "tmp", says: "absolute"},
		{in: "/", says: "root"},
		{in: "/a/../b", says: "write /b"},
		{in: "/a/", says: "write /a"},
		{in: "/a\nb", says: "control"},
		{in: "/a:dev", says: "option dev"},
		{in: "/a:bogus", says: `"bogus"`},
		{in: "/a:size=50%", says: "share"},
		{in: "/a:size=-1", says: "size"},
		{in: "/a:size=", says: "size"},
		{in: "/a:mode=9", says: "mode"},
		{in: "/a:mode=17777", says: "mode"},
		{in: "/a:uid=-1", says: "uid"},
		{in: "/a:uid=65536", says: "65535"},
		{in: "/a:rw=1", says: "rw=1"},
		{in: "/a:,", says: "unknown"},
		{in: "/a:gid"},
	})
}

func TestParseUlimit(t *testing.T) {
	check(t, ParseUlimit, []parseCase{
		{in: "nofile=1024", want: "{RLIMIT_NOFILE 1024 1024}"},
		{in: "nofile=1:2", want: "{RLIMIT_NOFILE 2 1}"},
		{in: "core=-1", want: fmt.Sprintf("{RLIMIT_CORE %d %d}", uint64(math.MaxUint64), uint64(math.MaxUint64))},
		{in: "core=0:unlimited", want: fmt.Sprintf("{RLIMIT_CORE %d 0}", uint64(math.MaxUint64))},
		{in: "nofiles=1", says: "did you mean nofile"},
		{in: "nofile", says: "name=soft"},
		{in: "nofile=2:1", says: "above"},
		{in: "nofile=-1:1", says: "above"},
		{in: "=1"},
		{in: "NOFILE=1"},
		{in: "nofile="},
		{in: "nofile=1:"},
		{in: "nofile=1:2:3"},
		{in: "nofile=x"},
		{in: "nofile=-2"},
	})
}

func TestCaps(t *testing.T) {
	check(t, ParseCap, []parseCase{
		{in: "CHOWN", want: "CAP_CHOWN"},
		{in: "cap_chown", want: "CAP_CHOWN"},
		{in: "all", want: "ALL"},
		{in: "Checkpoint_Restore", want: "CAP_CHECKPOINT_RESTORE"},
		{in: "CHWON", says: "did you mean CHOWN?"},
		{in: "", says: "unknown"},
		{in: "CAP_ALL"},
		{in: "NET-RAW", says: "did you mean NET_RAW?"},
		{in: strings.Repeat("A", 100)},
	})
	three := []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"}
	for _, c := range []struct{ add, drop, want string }{
		{"", "", "CAP_CHOWN CAP_SETGID CAP_SETUID"},
		{"CHOWN SETUID SETGID", "ALL", "CAP_CHOWN CAP_SETGID CAP_SETUID"},
		{"", "ALL", ""},
		{"NET_RAW", "", "CAP_CHOWN CAP_SETGID CAP_SETUID CAP_NET_RAW"},
		{"KILL", "all chown", "CAP_KILL"},
		{"CHOWN", "CHOWN", "CAP_SETGID CAP_SETUID"},
		{"ALL", strings.Join(Capabilities()[2:], " "), "CAP_CHOWN CAP_DAC_OVERRIDE"},
	} {
		got, err := CapSet(three, strings.Fields(c.add), strings.Fields(c.drop))
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("add %q, drop %q: %q, %v; want %q", c.add, c.drop, got, err, c.want)
		}
	}
	if n := len(Capabilities()); n != 41 {
		t.Errorf("%d capabilities, Linux 5.9 to 6.18 have 41", n)
	}
	for _, c := range DockerCaps() {
		if !slices.Contains(Capabilities(), c) {
			t.Errorf("docker's %s is not known", c)
		}
	}
}

func TestParseSecurity(t *testing.T) {
	yes, no := true, false
	for in, want := range map[string]Security{
		"":                                     {},
		"no-new-privileges":                    {NoNewPrivileges: &yes},
		"no-new-privileges=true":               {NoNewPrivileges: &yes},
		"no-new-privileges:false":              {NoNewPrivileges: &no},
		"seccomp=unconfined no-new-privileges": {NoNewPrivileges: &yes, Seccomp: SeccompUnconfined},
		"seccomp=builtin":                      {},
		"seccomp=/a=b:c.json seccomp=/a=b:c.json": {Seccomp: "/a=b:c.json"},
		"seccomp:p.json":      {Seccomp: "p.json"},
		"apparmor=unconfined": {AppArmor: "unconfined"},
		"apparmor:docker-default apparmor=docker-default": {AppArmor: "docker-default"},
		"label=type:spc_t label:level:s0:c1,c2":           {Labels: []string{"type:spc_t", "level:s0:c1,c2"}},
		"label=disable":                                   {Labels: []string{"disable"}},
	} {
		got, err := ParseSecurity(strings.Fields(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	check(t, func(s string) (Security, error) { return ParseSecurity(strings.Fields(s)) }, []parseCase{
		{in: "apparmor", says: "apparmor=PROFILE"},
		{in: "apparmor=a apparmor=b", says: "twice"},
		{in: "apparmor=\x01", says: "strange"},
		{in: "apparmor=" + strings.Repeat("a", 256), says: "too long"},
		{in: "label", says: "label=disable"},
		{in: "label=type:", says: "label=type:VALUE"},
		{in: "label=color:red", says: "user:"},
		{in: "nnp", says: "unknown"},
		{in: "no-new-privileges=maybe", says: "no-new-privileges=true or"},
		{in: "seccomp", says: "seccomp=FILE"},
		{in: "seccomp=", says: "seccomp=FILE"},
		{in: "no-new-privileges no-new-privileges=false", says: "twice"},
		{in: "seccomp=unconfined seccomp=builtin", says: "twice"},
		{in: "systempaths=unconfined", says: "not supported"},
	})
}

func TestParseDetachKeys(t *testing.T) {
	check(t, ParseDetachKeys, []parseCase{
		{in: "", want: "[]"},
		{in: DefaultDetachKeys, want: "[16 17]"},
		{in: "a", want: "[97]"},
		{in: "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", want: "[0 27 28 29 30 31]"},
		{in: "ctrl-A,x", want: "[1 120]"},
		{in: "ctrl-"},
		{in: "ctrl-pp"},
		{in: "ctrl-1"},
		{in: ","},
		{in: "ab"},
		{in: "é"},
		{in: "a,"},
		{in: strings.Repeat("a,", 20) + "a", says: "16"},
	})
}

func TestNames(t *testing.T) {
	ok := func(f func(string) error) func(string) (string, error) {
		return func(s string) (string, error) { return "ok", f(s) }
	}
	check(t, ok(CheckName), []parseCase{
		{in: "cpc-sandbox-1", want: "ok"}, {in: "a.b_c", want: "ok"}, {in: "a"}, {in: ""}, {in: "-a"}, {in: ".a"}, {in: "a/b"}, {in: "a b"}, {in: "aé"}, {in: strings.Repeat("a", 129)},
	})
	check(t, ok(CheckHostname), []parseCase{
		{in: "a", want: "ok"}, {in: "my-host.example", want: "ok"}, {in: "a_b", want: "ok"}, {in: ""}, {in: "-a"}, {in: "a-"}, {in: "a..b"}, {in: "a b"}, {in: "a\n"}, {in: strings.Repeat("a", 65)},
	})
	check(t, ParseUser, []parseCase{
		{in: "sandbox", want: "{sandbox }"},
		{in: "1000:1000", want: "{1000 1000}"},
		{in: "a:b", want: "{a b}"},
		{in: "4294967294:4294967294", want: "{4294967294 4294967294}"},
		{in: "4294967295"},
		{in: "4294967296"},
		{in: "18446744073709551616"},
		{in: "a:4294967295"},
		{in: "a:4294967296"},
		{in: ""},
		{in: ":"},
		{in: "a:"},
		{in: ":a"},
		{in: "a:b:c"},
		{in: "-1"},
		{in: "a b"},
		{in: "a/b"},
		{in: strings.Repeat("a", 257)},
	})
	if k, v, err := ParseLabel("a=b=c"); k != "a" || v != "b=c" || err != nil {
		t.Errorf("label: %q %q %v", k, v, err)
	}
	if _, _, err := ParseLabel("=x"); err == nil {
		t.Error("a label without a key is accepted")
	}
}

func TestParseSignal(t *testing.T) {
	check(t, func(s string) (string, error) {
		n, err := ParseSignal(s)
		return SignalName(n), err
	}, []parseCase{
		{in: "SIGTERM", want: "SIGTERM"},
		{in: "term", want: "SIGTERM"},
		{in: "15", want: "SIGTERM"},
		{in: "KILL", want: "SIGKILL"},
		{in: "RTMIN", want: "34"},
		{in: "SIGRTMIN+3", want: "37"},
		{in: "RTMAX-1", want: "63"},
		{in: "64", want: "64"},
		{in: ""},
		{in: "0"},
		{in: "65"},
		{in: "-1"},
		{in: "+9"},
		{in: "SIGNOPE"},
		{in: "RTMIN-1"},
		{in: "RTMIN+"},
		{in: "RTMAX-31"},
		{in: "SIGSIGTERM"},
	})
}

func lookup(name string) (string, bool) {
	if name == "HOST" {
		return "value", true
	}
	return "", false
}

func TestParseEnv(t *testing.T) {
	check(t, func(s string) (string, error) { return ParseEnv(s, lookup) }, []parseCase{
		{in: "A=b=c", want: "A=b=c"},
		{in: "A=", want: "A="},
		{in: "HOST", want: "HOST=value"},
		{in: "GONE", want: "GONE"},
		{in: ""},
		{in: "=x"},
		{in: "A=\x00"},
	})
	check(t, func(s string) ([]string, error) { return ParseEnvFile(strings.NewReader(s), lookup) }, []parseCase{
		{in: "A=1\n# note\n\n  B=\"two words\" \nHOST\nGONE\r\n", want: `[A=1 B="two words"  HOST=value]`},
		{in: "\xef\xbb\xbfA=1", want: "[A=1]"},
		{in: "A=1\n=x", says: "line 2"},
		{in: "A B=1", says: "white space"},
		{in: "A=\xff", says: "UTF-8"},
		{in: "A=\x00", says: "NUL"},
		{in: "A=" + strings.Repeat("x", maxEnvFile), says: "larger"},
	})
}

func FuzzValues(f *testing.F) {
	for _, s := range []string{"2g", "1.5", "/tmp:rw,size=1g,mode=1777", "nofile=1:2", "CHWON", "ctrl-p,ctrl-q", "A=b", "RTMIN+1", "no-new-privileges:true", "a:b", "\xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err == nil && n < 0 {
			t.Errorf("size %d", n)
		}
		if n, err := ParseCPUs(s, 8); err == nil && (n < 0 || n > 8000) {
			t.Errorf("cpus %d", n)
		}
		if n, err := ParsePids(s); err == nil && n < 0 {
			t.Errorf("pids %d", n)
		}
		if m, err := ParseTmpfs(s); err == nil && (m.Size < 0 || m.Inodes < 0 || checkTmpfsPath(m.Path) != nil) {
			t.Errorf("tmpfs %+v", m)
		}
		if r, err := ParseUlimit(s); err == nil && r.Soft > r.Hard {
			t.Errorf("ulimit %+v", r)
		}
		if c, err := ParseCap(s); err == nil && c != AllCaps && !slices.Contains(Capabilities(), c) {
			t.Errorf("capability %q", c)
		}
		if n, err := ParseSignal(s); err == nil && (n < 1 || n > sigRTMax) {
			t.Errorf("signal %d", n)
		}
		if u, err := ParseUser(s); err == nil && (u.User == "" || strings.ContainsAny(u.User+u.Group, ":\n\x00")) {
			t.Errorf("user %+v", u)
		}
		if e, err := ParseEnv(s, lookup); err == nil && (e == "" || strings.ContainsRune(e, 0)) {
			t.Errorf("environment %q", e)
		}
		if lines, err := ParseEnvFile(strings.NewReader(s), lookup); err == nil && slices.ContainsFunc(lines, func(l string) bool { return !strings.Contains(l, "=") }) {
			t.Errorf("environment file %q", lines)
		}
		if CheckName(s) == nil && strings.ContainsAny(s, "/\x00") {
			t.Errorf("name %q", s)
		}
		_, _ = ParseDetachKeys(s)                   // must only not crash
		_, _ = ParseSecurity(strings.Split(s, " ")) // the same
	})
}
