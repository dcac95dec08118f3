// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/testkit"
)

// hold connects to deb.debian.org and keeps the connection for as long as the
// other side does; it says what it came to.
const hold = `exec 3<>/dev/tcp/deb.debian.org/80 && echo connected && cat <&3 >/dev/null; echo over`

func TestNetLive(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		name := w.detach(t, []string{"--egress", "deb.debian.org:80/raw"}, "sleep", "300")
		resolves := func(host string) bool {
			_, _, code := w.run(t, "exec", name, "getent", "hosts", host)
			return code == 0
		}
		if out := w.must(t, "net", "show", name); !strings.Contains(out, "deb.debian.org:80/raw") || !strings.Contains(out, "policy 1") {
			t.Errorf("show: %q", out)
		}
		if resolves("example.org") {
			t.Error("a host resolves that no rule names")
		}
		if out := w.must(t, "net", "allow", name, "example.org"); !strings.Contains(out, "policy 2") {
			t.Errorf("allow: %q", out)
		}
		if !resolves("example.org") {
			t.Error("a host does not resolve though a new rule names it")
		}
		if out := w.must(t, "net", "allow", name, "example.org"); !strings.Contains(out, "policy 2") {
			t.Errorf("allow again: %q", out)
		}
		out, _, code := w.run(t, "net", "test", name, "http://deb.debian.org", "example.org:22")
		if code != 1 || !strings.Contains(out, "deb.debian.org:80 allowed by deb.debian.org:80/raw") || !strings.Contains(out, "example.org:22 denied: no rule") {
			t.Errorf("test: exit status %d, %q", code, out)
		}
		w.cut(t, name)
		w.must(t, "net", "remove", name, "deb.debian.org")
		if !resolves("deb.debian.org") {
			t.Error("a rule does not hold again though the one against it was removed")
		}
		w.must(t, "net", "remove", name, "deb.debian.org:80/raw")
		if resolves("deb.debian.org") {
			t.Error("a host resolves though its rule was removed")
		}
		told := w.must(t, "events", "--since", "10m", "--until", "0s", "--filter", "container="+name)
		for _, want := range []string{"network-policy", "rules=example.org", "network-denied", "host=example.org", "reason=no rule names this host"} {
			if !strings.Contains(told, want) {
				t.Errorf("cpc events lacks %q: %s", want, told)
			}
		}
		var shown []struct {
			Policy int `json:"policy"`
			Rules  []struct {
				Rule        string `json:"rule"`
				Connections int    `json:"connections"`
			} `json:"rules"`
		}
		if err := json.Unmarshal([]byte(w.must(t, "net", "show", "--json", name)), &shown); err != nil || len(shown) != 1 ||
			shown[0].Policy != 5 || len(shown[0].Rules) != 1 || shown[0].Rules[0].Rule != "example.org:80,443" {
			t.Errorf("show --json: %+v, %v", shown, err)
		}
		for _, args := range [][]string{{"allow", name, "a b"}, {"remove", name, "nobody.example"}, {"show", "nosuch"}, {"test", name, "a b"}} {
			if _, stderr, code := w.run(t, append([]string{"net"}, args...)...); code == 0 || stderr == "" {
				t.Errorf("net %q: exit status %d, %q", args, code, stderr)
			}
		}
	})
}

// cut denies a sandbox the host that it is connected to, and follows that in
// the log.
func (w *who) cut(t *testing.T, name string) {
	t.Helper()
	var log, said lockedBuffer
	follow := w.cpc(t, "net", "log", "-f", "--json", name)
	follow.Stdout = &log
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = follow.Process.Kill()
		_ = follow.Wait()
	}()
	held := w.cpc(t, "exec", name, "bash", "-c", hold)
	held.Stdout = &said
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = held.Process.Kill()
		_ = held.Wait()
	}()
	testkit.Eventually(t, time.Minute, "the connection is in the log", func() bool {
		return strings.Contains(log.String(), `"kind":"connect","verdict":"allowed"`)
	})
	if out := w.must(t, "net", "deny", name, "deb.debian.org"); !strings.Contains(out, "1 connections cut") {
		t.Errorf("deny: %q", out)
	}
	testkit.Eventually(t, time.Minute, "the connection is cut", func() bool { return strings.Contains(said.String(), "over") })
	testkit.Eventually(t, time.Minute, "its end is in the log", func() bool {
		return strings.Contains(log.String(), `"kind":"close"`) && strings.Contains(log.String(), `"kind":"policy"`)
	})
	for line := range strings.Lines(log.String()) {
		var d struct {
			Kind, Sandbox, Rule, Name, Process string
			Policy, Port                       int
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if d.Kind == "connect" && (len(d.Sandbox) != 64 || d.Rule != "deb.debian.org:80/raw" || d.Name != "deb.debian.org" || d.Port != 80 || d.Policy != 2 || !strings.HasPrefix(d.Process, "bash[")) {
			t.Errorf("a connection's event: %s", line)
		}
	}
}

// What is refused is on record, also as counted by the packet filter.
func TestNetLog(t *testing.T) {
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		name := w.name(t)
		w.must(t, "run", "--name", name, "--egress", "deb.debian.org:80", base, "bash", "-c",
			"getent hosts secret.example.org; (exec 3<>/dev/tcp/192.0.2.7/25) 2>/dev/null; sleep 0.2; true")
		out := w.must(t, "net", "log", "--denied", name)
		for _, want := range []string{"dns denied secret.example.org", "no rule names this host", "packet denied 192.0.2.7:25"} {
			if !strings.Contains(out, want) {
				t.Errorf("the log of a sandbox that has ended lacks %q: %q", want, out)
			}
		}
		quiet := w.name(t)
		w.must(t, "run", "--name", quiet, "--network", "none", base, "true")
		if _, stderr, code := w.run(t, "net", "log", quiet); code != 1 || !strings.Contains(stderr, "not an allowlist") {
			t.Errorf("log of no network: exit status %d, %q", code, stderr)
		}
	})
}

func TestNetLearn(t *testing.T) {
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		const ask = "(exec 3<>/dev/tcp/b.example/443); (exec 3<>/dev/tcp/a.example/80); (exec 3<>/dev/tcp/192.0.2.7/25); echo done"
		stdout, stderr, code := w.run(t, "net", "learn", base, "bash", "-c", ask)
		if code != 0 || !strings.Contains(stderr, "done") {
			t.Fatalf("exit status %d, %q", code, stderr)
		}
		if want := "allow = [\n\t\"192.0.2.7:25\",\n\t\"a.example:80\",\n\t\"b.example:443\",\n]\n"; stdout != want {
			t.Errorf("learnt %q, want %q", stdout, want)
		}
		// What was learnt is what a policy file is.
		file := filepath.Join(w.home, "learnt.toml")
		if err := os.WriteFile(file, []byte(stdout), 0o644); err != nil { //nolint:gosec // the caller reads it
			t.Fatal(err)
		}
		if out := w.in(t, "getent hosts a.example >/dev/null && echo known", "--egress-file", file); strings.TrimSpace(out) != "known" {
			t.Errorf("with the policy that was learnt: %q", out)
		}
		if out := w.must(t, "ps", "-aq"); out != "" {
			t.Errorf("learning left %q", out)
		}
	})
}
