// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// known prints which of some hosts resolve.
const known = "for h in a.example b.example deb.debian.org pypi.org; do getent hosts $h >/dev/null && echo $h; done; true"

// put writes a file that the caller can read, and returns its path.
func (w *who) put(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(w.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the caller's user reads it
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	return path
}

// Policies from files, an image's label and the user's configuration.
func TestPolicySources(t *testing.T) {
	eachOf(t, []string{mapped, single}, func(t *testing.T, w *who) {
		file := w.put(t, "policy.toml", "allow = ['a.example', '@pypi']\ndeny = ['pypi.org']\n")
		dir := filepath.Dir(w.put(t, "labelled/Dockerfile", "FROM "+base+"\nLABEL io.cpc.egress=\"@pypi a.example\"\n"))
		const labelled = "cpc-e2e/labelled:latest"
		w.must(t, "build", "--sbom=false", "-t", labelled, dir)
		check := func(image, want, says string, flags ...string) {
			t.Helper()
			stdout, stderr, code := w.run(t, append(append([]string{"run", "--rm"}, flags...), image, "sh", "-c", known)...)
			if got := strings.Join(strings.Fields(stdout), " "); code != 0 || got != want || !strings.Contains(stderr, says) {
				t.Errorf("%s %q: exit status %d, %q resolve, want %q; %q, want %q", image, flags, code, got, want, stderr, says)
			}
		}
		check(base, "a.example", "", "--egress-file", file)
		check(base, "a.example b.example", "", "--egress-file", file, "--egress", "b.example")
		// A pipe is read once, and what came of it is the policy; an empty one is none.
		pipe := filepath.Join(filepath.Dir(file), "pipe")
		if err := unix.Mkfifo(pipe, 0o666); err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]string{"allow = ['a.example', '@pypi']\ndeny = ['pypi.org']\n": "a.example", "": ""} {
			go func() {
				if f, err := os.OpenFile(pipe, os.O_WRONLY, 0); err == nil {
					_, _ = f.WriteString(text)
					_ = f.Close()
				}
			}()
			stdout, stderr, code := w.run(t, "run", "--rm", "--egress-file", pipe, base, "sh", "-c", known)
			if got := strings.Join(strings.Fields(stdout), " "); got != want || (code == 0) != (text != "") || text == "" && !strings.Contains(stderr, "neither allow nor deny") {
				t.Errorf("a pipe with %q: exit status %d, %q, %q", text, code, got, stderr)
			}
		}
		// A label narrows the default, and never adds to it.
		check(labelled, "pypi.org", "a.example:80,443 has no effect")
		check(labelled, "b.example", "", "--egress", "b.example")
		config := w.put(t, ".config/cpc/config.toml", "[egress]\nallow = ['a.example', 'b.example']\nlimit = true\n[network]\ndns-search = ['corp.example']\n")
		check(base, "a.example b.example", "")
		check(labelled, "a.example", "pypi.org:443 has no effect")
		check(base, "b.example", "deb.debian.org:80,443 has no effect", "--egress", "b.example", "--egress", "deb.debian.org")
		if out := w.in(t, "cat /etc/resolv.conf", "--dns-option", "ndots:2"); !strings.Contains(out, "search corp.example\noptions ndots:2\n") {
			t.Errorf("resolv.conf: %q", out)
		}
		w.put(t, ".config/cpc/config.toml", "[egress]\nalow = ['a.example']\n")
		if _, stderr, code := w.run(t, "run", "--rm", base, "true"); code != 125 || !strings.Contains(stderr, config) || !strings.Contains(stderr, "egress.alow") {
			t.Errorf("a misspelt key: exit status %d, %q", code, stderr)
		}
	})
}

// What --add-host, --dns-search and --host-ca put into a sandbox.
func TestNetworkFiles(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		ca := w.put(t, "ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
		stdout, stderr, code := w.run(t, "run", "--rm", "--add-host", "db.example:192.0.2.9", "--dns-search", "corp.example", "--dns", "192.0.2.53",
			"--host-ca="+ca, "-e", "PIP_CERT=/mine", base, "sh", "-c", `getent hosts db.example; cat /etc/resolv.conf; cat $SSL_CERT_FILE; echo $NODE_EXTRA_CA_CERTS $PIP_CERT; echo x 2>/dev/null >$SSL_CERT_FILE || echo read-only`)
		if code != 0 || !strings.Contains(stderr, "--dns has no effect") {
			t.Errorf("exit status %d, %q", code, stderr)
		}
		for _, want := range []string{"192.0.2.9", "nameserver 198.18.0.1\nsearch corp.example\n", "BEGIN CERTIFICATE", "/run/cpc/host-ca.crt /mine\n", "read-only"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q is not in %q", want, stdout)
			}
		}
		if strings.Contains(stdout, "192.0.2.53") {
			t.Errorf("a name server of --dns: %q", stdout)
		}
		named := w.name(t)
		w.must(t, "run", "--name", named, "--add-host", "db.example:192.0.2.9", "--dns-search", "corp.example", "--dns-option", "ndots:2", "--host-ca="+ca, base, "true")
		const asked = "{{join .HostConfig.ExtraHosts \" \"}} {{join .HostConfig.DnsSearch \" \"}} {{join .HostConfig.DnsOptions \" \"}} {{.HostConfig.HostCA}}"
		if got, want := strings.TrimSpace(w.must(t, "inspect", "-f", asked, named)), "db.example:192.0.2.9 corp.example ndots:2 "+ca; got != want {
			t.Errorf("inspect: %q, want %q", got, want)
		}
		if out := w.in(t, "env | grep -c CA_BUNDLE; ls /run/cpc 2>/dev/null; true"); strings.TrimSpace(out) != "0" {
			t.Errorf("without --host-ca: %q", out)
		}
		key := w.put(t, "key.pem", "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n")
		if _, stderr, code := w.run(t, "run", "--rm", "--host-ca="+key, base, "true"); code != 125 || !strings.Contains(stderr, "private key") {
			t.Errorf("a CA bundle with a private key: exit status %d, %q", code, stderr)
		}
		if out := w.in(t, "cat /etc/resolv.conf /etc/hosts", "--network", "host", "--dns", "192.0.2.53", "--add-host", "db.example:192.0.2.9"); !strings.Contains(out, "nameserver 192.0.2.53") || !strings.Contains(out, "192.0.2.9\tdb.example") {
			t.Errorf("with the host's network: %q", out)
		}
	})
}

// RUN steps have the build's policy, and say what it kept them from.
func TestBuildNetwork(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir := filepath.Dir(w.put(t, "net-build/Dockerfile", "FROM "+base+"\nARG HOST\nRUN ls /sys/class/net | tr '\\n' ' ' >/net; getent hosts $HOST >/dev/null\n"))
		build := func(host string, flags ...string) (string, int) {
			_, stderr, code := w.run(t, append(append([]string{"build", "--sbom=false", "--no-cache", "--build-arg", "HOST=" + host, "-t", "cpc-e2e/net:latest"}, flags...), dir)...)
			return stderr, code
		}
		if out, code := build("deb.debian.org"); code != 0 {
			t.Errorf("the default policy: exit status %d, %s", code, out)
		}
		if got := w.must(t, "run", "--rm", "cpc-e2e/net:latest", "sh", "-c", "cat /net; ls -d /run/cpc 2>/dev/null; true"); strings.TrimSpace(got) != "eth0 lo" {
			t.Errorf("interfaces of a step, and what it left: %q", got)
		}
		if out, code := build("a.example"); code == 0 || !strings.Contains(out, "did not let this step reach") || !strings.Contains(out, "a.example: no rule names this host") {
			t.Errorf("another host: exit status %d, %s", code, out)
		}
		if out, code := build("a.example", "--egress", "a.example"); code != 0 {
			t.Errorf("with a rule: exit status %d, %s", code, out)
		}
		if out, code := build("deb.debian.org", "--network", "none"); code == 0 {
			t.Errorf("without a network: exit status %d, %s", code, out)
		}
		if out, code := build("deb.debian.org", "--network", "none", "--egress", "a.example"); code != 125 || !strings.Contains(out, "--egress needs") {
			t.Errorf("a rule without a network: exit status %d, %s", code, out)
		}
		config := w.put(t, ".config/cpc/config.toml", "[egress]\nallow = ['b.example']\n[build.egress]\nallow = ['a.example']\n")
		if out, code := build("a.example"); code != 0 {
			t.Errorf("with a rule for builds: exit status %d, %s", code, out)
		}
		if out, code := build("b.example"); code == 0 {
			t.Errorf("with a rule for what is run: %s", out)
		}
		if err := os.Remove(config); err != nil {
			t.Fatal(err)
		}
		ca := w.put(t, "net-build-ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
		w.put(t, "net-build/Dockerfile", "FROM "+base+"\nRUN grep -q MIIB $SSL_CERT_FILE\n")
		if out, code := build("x", "--host-ca="+ca); code != 0 {
			t.Errorf("--host-ca: exit status %d, %s", code, out)
		}
		if got := w.must(t, "run", "--rm", "cpc-e2e/net:latest", "sh", "-c", "env | grep CERT; ls -d /run/cpc 2>/dev/null; true"); got != "" {
			t.Errorf("the host's CAs stayed in the image: %q", got)
		}
	})
}

// Where the kernel gives no namespace for it, there is no sandbox: not one
// without a network, and not one with the host's.
func TestNoNamespaceForNetwork(t *testing.T) {
	eachOf(t, []string{single}, func(t *testing.T, w *who) {
		w.must(t, "ps") // and with it the base image
		script := `echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"`
		w.in(t, "true")
		cmd := w.command("unshare", "-U", "--map-current-user", "--keep-caps", "sh", "-c", script, "sh", w.bin, "run", "--rm", base, "echo", "ran")
		r := finish(t, cmd)
		if r.code != 125 || strings.Contains(r.stdout, "ran") || !strings.Contains(r.stderr, "network") || !strings.Contains(r.stderr, "--network none") {
			t.Errorf("%+v", r)
		}
		dir := filepath.Dir(w.put(t, "no-net-build/Dockerfile", "FROM "+base+"\nRUN echo r''an\n"))
		cmd = w.command("unshare", "-U", "--map-current-user", "--keep-caps", "sh", "-c", script, "sh", w.bin, "build", "--no-cache", "--sbom=false", dir)
		r = finish(t, cmd)
		if r.code == 0 || strings.Contains(r.stderr, " ran") || !strings.Contains(r.stderr, "network") || !strings.Contains(r.stderr, "--network none") {
			t.Errorf("a build: %+v", r)
		}
	})
}
