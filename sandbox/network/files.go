// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// WriteFiles makes the sandbox's /etc/hostname, /etc/hosts, /etc/resolv.conf
// and CA bundle in dir. n is nil where the network is not an allowlist.
func (o Options) WriteFiles(dir, hostname, mode string, n *netns.Net) (bundle.Files, error) {
	f := bundle.Files{
		Hostname:   filepath.Join(dir, "hostname"),
		Hosts:      filepath.Join(dir, "hosts"),
		ResolvConf: filepath.Join(dir, "resolv.conf"),
	}
	hosts, resolv, err := o.names(hostname, mode, n)
	if err != nil {
		return f, err
	}
	texts := map[string]string{f.Hostname: hostname + "\n", f.Hosts: hosts, f.ResolvConf: resolv}
	if o.HostCA.Text != "" {
		f.HostCA = filepath.Join(dir, "host-ca.crt")
		texts[f.HostCA] = o.HostCA.Text
	}
	for path, text := range texts {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // the sandbox reads them
			return f, fmt.Errorf("network files: %w", err)
		}
	}
	return f, nil
}

// names returns the texts of /etc/hosts and /etc/resolv.conf.
func (o Options) names(hostname, mode string, n *netns.Net) (hosts, resolv string, err error) {
	if n != nil {
		plan := n.Plan()
		resolv, err = plan.ResolvConf(o.DNS.Search, o.DNS.Options)
		return plan.Hosts(hostname, o.Hosts), resolv, err
	}
	hosts = netns.LocalHosts(o.Hosts) + "127.0.1.1\t" + hostname + "\n"
	if mode != bundle.NetworkHost {
		return hosts, "# this sandbox has no network of its own\n", nil
	}
	if own, err := readHostFile("/etc/hosts"); err == nil {
		hosts = own + netns.HostLines(o.Hosts)
		if !slices.Contains(strings.Fields(own), hostname) {
			hosts += "127.0.1.1\t" + hostname + "\n"
		}
	}
	own, err := readHostFile("/etc/resolv.conf")
	if err != nil && len(o.DNS.Servers) == 0 {
		return hosts, "", nil // as glibc does without one
	}
	resolv, err = o.DNS.over(own)
	return hosts, resolv, err
}

// over returns the host's resolv.conf with what the flags say in its place.
func (d DNS) over(own string) (string, error) {
	keys := map[string]bool{"nameserver": len(d.Servers) > 0, "search": len(d.Search) > 0, "domain": len(d.Search) > 0, "options": len(d.Options) > 0}
	var b strings.Builder
	for line := range strings.Lines(own) {
		if f := strings.Fields(line); len(f) > 0 && keys[f[0]] {
			continue
		}
		b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	for _, s := range d.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	more, err := netns.ResolverLines(d.Search, d.Options)
	return b.String() + more, err
}

// maxHostFile bounds what is copied of the host's files.
const maxHostFile = 256 << 10

func readHostFile(path string) (string, error) {
	raw, err := readBounded(path, maxHostFile)
	text := string(raw)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text, err
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("%s: larger than %d bytes", path, most)
	}
	return raw, err
}

// ErrNoCA reports a host on which no CA bundle was found.
var ErrNoCA = hint.New("no CA bundle found on this host",
	"Give the path of the bundle with: --host-ca=FILE")

// FindCA returns the host's CA bundle: what SSL_CERT_FILE names,
// else where distributions have it.
func FindCA() (CA, error) {
	if path := os.Getenv("SSL_CERT_FILE"); path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return CA{}, err
		}
		return ReadCA(abs)
	}
	places := []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem", // SUSE
		"/etc/ssl/cert.pem",      // Alpine
	}
	for _, path := range places {
		if ca, err := ReadCA(path); err == nil {
			return ca, nil
		}
	}
	return CA{}, fmt.Errorf("%w: looked for %s", ErrNoCA, strings.Join(places, ", "))
}

const maxCA = 4 << 20

// ReadCA reads a CA bundle in PEM, once. A file with a private key is refused: it
// would be the sandbox's to read.
func ReadCA(path string) (CA, error) {
	raw, err := readBounded(path, maxCA)
	if err != nil {
		return CA{}, fmt.Errorf("CA bundle: %w", err)
	}
	if bytes.Contains(raw, []byte("PRIVATE KEY-----")) {
		return CA{}, fmt.Errorf("CA bundle %s: holds a private key, which a sandbox must not see", path)
	}
	if !bytes.Contains(raw, []byte("-----BEGIN CERTIFICATE-----")) && !bytes.Contains(raw, []byte("-----BEGIN TRUSTED CERTIFICATE-----")) {
		return CA{}, fmt.Errorf("CA bundle %s: holds no certificate in PEM form", path)
	}
	return CA{Path: path, Text: string(raw)}, nil
}
