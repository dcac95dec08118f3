// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Supervisors parse this, by line and by what is before the colon.
func TestVersion(t *testing.T) {
	if os.Getenv(envSetting) != "" {
		t.Skip("the same in every setting")
	}
	b := newBench(t, settings()[0])
	version := regexp.MustCompile(`^cpc-runtime version \d+\.\d+\.\d+\S*\ncommit: \S+\nspec: 1\.3\.\d+\ngo: go\S+\nlibseccomp: \d+\.\d+\.\d+\n$`)
	if out := b.must("--version").stdout; !version.MatchString(out) {
		t.Errorf("version %q", out)
	}
	if r := b.cli("nosuch", "--help"); r.code != 3 || !strings.Contains(r.stderr, "No help topic for 'nosuch'") {
		t.Errorf("help on an unknown command: %+v", r)
	}
	for _, args := range [][]string{{"help", "kill"}, {"h", "kill"}, {"kill", "-h"}} {
		if out := b.must(args...).stdout; !strings.Contains(out, "cpc-runtime kill - ") {
			t.Errorf("%v: %q", args, out)
		}
	}
	if r := b.cli("create", "--bundle", b.dir, "none"); r.code != 1 || !strings.Contains(r.stderr, "JSON specification file config.json not found") {
		t.Errorf("a directory without config.json: %+v", r)
	}
}

// In place of runc it goes by that name, and has its words, form and statuses.
func TestCalledRunc(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		runc := filepath.Join(b.dir, "runc")
		if err := os.Symlink(b.runtime, runc); err != nil {
			t.Fatal(err)
		}
		b.runtime = runc
		if out := b.must("--version").stdout; !strings.HasPrefix(out, "runc version ") {
			t.Errorf("version %q", out)
		}
		b.write(b.spec("nosuch"))
		log := filepath.Join(b.dir, "log")
		cause := `exec: \\?"nosuch\\?": executable file not found in \$PATH`
		for _, tt := range []struct {
			args        []string
			code        int
			stderr, log string
		}{
			{[]string{"run", "c1"}, 1, `(?m)^time="\S+" level=error msg="runc run failed: unable to start container process: .*` + cause + `"$`, ""},
			{[]string{"--log", log, "create", "c1"}, 1, `(?m)^runc create failed: .*` + cause + `$`, `(?m)^time="\S+" level=error msg="runc create failed: .*` + cause + `"$`},
			{[]string{"--log", log, "--log-format", "json", "exec", "c1", "true"}, 255, `^exec failed: container does not exist\n$`, `^{"level":"error","msg":"exec failed: container does not exist","time":"\S+"}\n$`},
			{[]string{"state", "c1"}, 1, `^time="\S+" level=error msg="container does not exist"\n$`, ""},
		} {
			r := b.cli(tt.args...)
			data, _ := os.ReadFile(log) // not all make one
			if r.code != tt.code || !regexp.MustCompile(tt.stderr).MatchString(r.stderr) || !regexp.MustCompile(tt.log).Match(data) {
				t.Errorf("%v: %+v, log %q", tt.args, r, data)
			}
			_ = os.Remove(log)
		}
	})
}

// What is wrong with a command line is said once, in words that runc has too.
func TestGlobalErrors(t *testing.T) {
	if os.Getenv(envSetting) != "" {
		t.Skip("the same in every setting")
	}
	b := newBench(t, settings()[0])
	b.must("spec", "--bundle", b.dir)
	if r := b.cli("spec", "--bundle", b.dir); r.code != 1 || !strings.Contains(r.stderr, "config.json exists. Remove it first") {
		t.Errorf("a further spec: %+v", r)
	}
	for _, tt := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"--nosuch"}, "cpc-runtime: flag provided but not defined: -nosuch; see --help\n"},
		{[]string{"--log-format", "xml", "list"}, "cpc-runtime: log format \"xml\": want text or json\n"},
		{[]string{"run", ""}, "cpc-runtime: run : container id cannot be empty\n"},
		{[]string{"list", "-f", "xml"}, "cpc-runtime: list: invalid format option \"xml\": want table or json\n"},
		{[]string{"--log", "/nosuch/log", "list"}, "cpc-runtime: log: open /nosuch/log: no such file or directory\n"},
	} {
		if r := b.cli(tt.args...); r.code != 1 || r.stderr != tt.stderr {
			t.Errorf("%v: %+v", tt.args, r)
		}
	}
}

// Debug messages are as runc's, on stderr or in the log.
func TestDebug(t *testing.T) {
	inSettings(t, func(b *bench) {
		b.write(b.spec("probe", "exit", "0"))
		log := filepath.Join(b.dir, "log")
		for _, format := range []string{"", "text", "json"} {
			r := b.must("--debug", "run", "c1")
			text, level := r.stderr, "level=debug"
			if format != "" {
				r = b.must("--debug", "--log", log, "--log-format", format, "run", "c1")
				data, err := os.ReadFile(log)
				if err != nil || r.stderr != "" {
					b.t.Errorf("%s: stderr %q, %v", format, r.stderr, err)
				}
				text = string(data)
				if err := os.Remove(log); err != nil {
					b.t.Error(err)
				}
			}
			if format == "json" {
				level = `"level":"debug"`
			}
			for _, want := range []string{level, "nsexec container setup", "child process in init()"} {
				if !strings.Contains(text, want) {
					b.t.Errorf("format %q: no %s in %q", format, want, text)
				}
			}
		}
	})
}

// A container in the foreground has a terminal like the caller's, also where
// all of the caller's streams lead elsewhere: then it is the controlling one.
func TestForegroundTerminal(t *testing.T) {
	inBothWays(t, func(b *bench) {
		t := b.t
		spec := b.spec("probe", "echo", "hello")
		spec.Process.Terminal = true
		b.write(spec)
		for name, piped := range map[string]bool{"terminal": false, "pipe": true} {
			master, slave, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(b.runtime, "--root", b.states, "run", "c1")
			cmd.Dir = b.dir
			cmd.ExtraFiles = []*os.File{slave}
			cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
			var out, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &stderr
			if !piped {
				cmd.Stdin, cmd.Stdout = slave, slave
			}
			err = cmd.Run()
			got := out.String()
			if !piped {
				got = readLine(t, master)
			}
			if want := map[bool]string{false: "hello\r\n", true: "hello\n"}[piped]; err != nil || got != want {
				t.Errorf("%s: output %q, want %q (%v: %s)", name, got, want, err, stderr.String())
			}
			after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("%s: terminal left as %+v, was %+v (%v)", name, after, before, err)
			}
			_, _ = master.Close(), slave.Close()
		}
	})
}

// A link is made in the container, also above missing directories; what libcontainer
// would have to do fails.
func TestCopySymlink(t *testing.T) {
	inSettings(t, func(b *bench) {
		t := b.t
		link := filepath.Join(b.dir, "link")
		if err := os.Symlink("/bin/probe", link); err != nil {
			t.Fatal(err)
		}
		s := b.spec("/dev/new/link", "exit", "3")
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/new/link", Source: link, Type: "bind", Options: []string{"bind", "copy-symlink"}})
		b.write(s)
		if r := b.cli("run", "c1"); r.code != 3 {
			t.Errorf("exit %d, want 3: %s", r.code, r.stderr)
		}
		t.Setenv("CPC_RUNTIME_LONG_WAY", "1")
		if r := b.cli("run", "c1"); r.code != 1 || !strings.Contains(r.stderr, "mount option copy-symlink: not beside") {
			t.Errorf("the long way: exit %d: %s", r.code, r.stderr)
		}
	})
}
