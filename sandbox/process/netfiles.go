// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// Names are the texts by which a program finds hosts by name.
type Names struct{ Hosts, ResolvConf string }

// NamesFor returns the names of a sandbox without a network, which has no name
// server, or with the host's, where names resolve as they do there.
func NamesFor(hostname, network string) Names {
	n := Names{
		Hosts:      "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + hostname + "\n",
		ResolvConf: "# this sandbox has no network\n",
	}
	if network == bundle.NetworkHost {
		n.Hosts = hostFile("/etc/hosts", n.Hosts)
		n.ResolvConf = hostFile("/etc/resolv.conf", "")
	}
	return n
}

// WriteNetFiles makes the sandbox's /etc/hostname, /etc/hosts and
// /etc/resolv.conf in dir.
func WriteNetFiles(dir, hostname string, n Names) (bundle.Files, error) {
	f := bundle.Files{
		Hostname:   filepath.Join(dir, "hostname"),
		Hosts:      filepath.Join(dir, "hosts"),
		ResolvConf: filepath.Join(dir, "resolv.conf"),
	}
	for path, text := range map[string]string{f.Hostname: hostname + "\n", f.Hosts: n.Hosts, f.ResolvConf: n.ResolvConf} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // the sandbox reads them
			return f, fmt.Errorf("network files: %w", err)
		}
	}
	return f, nil
}

// maxHostFile bounds what is copied of the host's files.
const maxHostFile = 256 << 10

func hostFile(path, otherwise string) string {
	f, err := os.Open(path)
	if err != nil {
		return otherwise
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxHostFile))
	if err != nil {
		return otherwise
	}
	return string(raw)
}
