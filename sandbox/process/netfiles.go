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

// WriteNetFiles makes the sandbox's /etc/hostname, /etc/hosts and
// /etc/resolv.conf in dir. Without a network there is no name server; with the
// host's, names resolve as they do there.
func WriteNetFiles(dir, hostname, network string) (bundle.Files, error) {
	f := bundle.Files{
		Hostname:   filepath.Join(dir, "hostname"),
		Hosts:      filepath.Join(dir, "hosts"),
		ResolvConf: filepath.Join(dir, "resolv.conf"),
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + hostname + "\n"
	resolv := "# this sandbox has no network\n"
	if network == bundle.NetworkHost {
		hosts = hostFile("/etc/hosts", hosts)
		resolv = hostFile("/etc/resolv.conf", "")
	}
	for path, text := range map[string]string{f.Hostname: hostname + "\n", f.Hosts: hosts, f.ResolvConf: resolv} {
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
