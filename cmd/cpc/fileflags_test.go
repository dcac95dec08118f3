// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/build"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/sandbox/network"
)

const (
	written   = "written, not read"
	inside    = "a place in the sandbox"
	directory = "a directory"
	elsewhere = "read once by another package, with a test there"
)

// fileFlags are all flags that name files of the host, and how each is read.
func fileFlags() map[string]any {
	return map[string]any{
		"egress-file": readEgress, "env-file": readEnv, "label-file": readLabels, "host-ca": readHostCA, "secret": readSecret, "ssh": readSSH, "file": readDockerfileFlag,
		"input":        readInput,
		"security-opt": elsewhere, // sandbox: TestProfileIsReadOnce
		"db":           elsewhere, // sbom: a pipe is refused, as cpc-scan can be let read files only
		"cidfile":      written, "iidfile": written, "metadata-file": written, "output": written, "cache-to": written,
		"workdir": inside, "tmpfs": inside, "mount": inside,
		"build-context": directory, "cache-from": directory,
	}
}

// TestFileFlagsReadOnce: what a flag names is read once and carried as a value, so
// that a pipe does, and nobody can put another file in its place after the check.
func TestFileFlagsReadOnce(t *testing.T) {
	how, seen := fileFlags(), map[string]bool{}
	names := regexp.MustCompile(`FILE|PATH|DIRECTORY|SOCKET`)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !names.MatchString(f.Usage) {
				return
			}
			seen[f.Name] = true
			if how[f.Name] == nil {
				t.Errorf("%s --%s names a file: how often is it read?", c.CommandPath(), f.Name)
			}
		})
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(newRoot(&app{}))
	for name, read := range how {
		if !seen[name] {
			t.Errorf("there is no --%s that names a file", name)
		}
		if read, ok := read.(func(*testing.T)); ok {
			t.Run(name, func(t *testing.T) { inTime(t, func() { read(t) }) })
		}
	}
}

// inTime fails a test that waits for a second writer of a pipe.
func inTime(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		t.Error("it waits for more: the file is read twice")
	}
}

// pipe is a named pipe with a text, for whoever opens it first.
func pipe(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Error(err)
	}
	go func() {
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString(text)
			_ = f.Close()
		}
	}()
	return path
}

func readEgress(t *testing.T) {
	t.Helper()
	f := netFlags{}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse([]string{"--egress-file", pipe(t, "allow = ['one.test:80']\ndeny = ['two.test']\n")}); err != nil {
		t.Error(err)
	}
	if _, err := f.parse(fs.Changed, "allowlist"); err != nil {
		t.Error(err)
		return
	}
	spec, err := f.egress.Policy("")
	if err != nil || !slices.Equal(spec.Allow, []string{"one.test:80"}) || !slices.Equal(spec.Deny, []string{"two.test"}) {
		t.Errorf("%+v, %v", spec, err)
	}
	for _, text := range []string{"", "# allow = ['one.test']\n", "\n\n", "allow = ['one.te", "allow"} {
		e := network.Egress{Files: []string{pipe(t, text)}}
		if spec, err := e.Policy(""); err == nil {
			t.Errorf("%q is the policy %+v", text, spec)
		}
	}
	e := network.Egress{Files: []string{pipe(t, "deny = ['two.test']\n")}}
	if spec, err := e.Policy(""); err != nil || !slices.Equal(spec.Allow, []string{policy.DefaultPreset}) || !strings.Contains(fmt.Sprint(e.Notes()), "allows nothing of its own") {
		t.Errorf("%+v, %v, notes %q", spec, err, e.Notes())
	}
	e = network.Egress{Files: []string{pipe(t, "allow = []\n")}}
	if spec, err := e.Policy(""); err != nil || len(spec.Allow) != 0 {
		t.Errorf("%+v, %v", spec, err)
	}
}

func readLabels(t *testing.T) {
	t.Helper()
	f := moreFlags{labelFiles: []string{pipe(t, "a=1\nb\n")}}
	if labels, err := f.labels(); err != nil || !slices.Equal(labels, []string{"a=1", "b="}) {
		t.Errorf("%q, %v", labels, err)
	}
}

func readEnv(t *testing.T) {
	t.Helper()
	if env, err := readEnvFile(pipe(t, "A=1\n")); err != nil || !slices.Equal(env, []string{"A=1"}) {
		t.Errorf("%q, %v", env, err)
	}
}

func readHostCA(t *testing.T) {
	t.Helper()
	const pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	f := netFlags{}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse([]string{"--host-ca=" + pipe(t, pem)}); err != nil {
		t.Error(err)
	}
	if o, err := f.parse(fs.Changed, "none"); err != nil || o.HostCA.Text != pem {
		t.Errorf("%+v, %v", o, err)
	}
}

func readSecret(t *testing.T) {
	t.Helper()
	all, err := secrets([]string{"id=one,src=" + pipe(t, "word")})
	if err != nil {
		t.Error(err)
		return
	}
	for range 2 {
		if value, err := all["one"](); err != nil || string(value) != "word" {
			t.Errorf("%q, %v", value, err)
		}
	}
}

func readSSH(t *testing.T) {
	t.Helper()
	path := pipe(t, "a key")
	all, _, err := agents([]string{"default=" + path})
	if err != nil || len(all["default"].Keys) != 1 || all["default"].Keys[0].Name != path {
		t.Errorf("%+v, %v", all, err)
	}
}

func readDockerfileFlag(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	f := buildFlags{file: pipe(t, "FROM scratch\nENV A=1\n")}
	o := &build.Options{}
	if err := f.context(t.Context(), &build.ContextSource{}, dir, o); err != nil {
		t.Error(err)
		return
	}
	if _, err := build.Check(t.Context(), *o); err != nil {
		t.Error(err)
	}
}

func readInput(t *testing.T) {
	t.Helper()
	in, err := openInput(t.Context(), pipe(t, "archive"))
	if err != nil {
		t.Error(err)
		return
	}
	defer in.Close()
	got := make([]byte, 7)
	if _, err := in.Read(got); err != nil || string(got) != "archive" {
		t.Errorf("%q, %v", got, err)
	}
}
