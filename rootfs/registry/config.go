// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// Host says how a registry is reached.
type Host struct {
	// Mirrors are asked first, in this order: host[:port][/path].
	Mirrors []string `toml:"mirrors"`
	// Insecure: plain HTTP, or a certificate that cannot be verified, will do.
	Insecure bool `toml:"insecure"`
	// CA is a file of certificates, further ones that may sign the host's.
	CA string `toml:"ca"`
	// Cert and Key are files of a certificate to show to the host.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// maxConfig bounds a configuration file.
const maxConfig = 1 << 20

// LoadHosts reads the table [registries."HOST"] of configuration files. What a
// later file says of a host replaces what an earlier one says. Files need not
// exist.
func LoadHosts(files ...string) (map[string]Host, error) {
	all := make(map[string]Host)
	for _, f := range files {
		st, err := os.Stat(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && st.Size() > maxConfig {
			err = fmt.Errorf("%s: larger than %d bytes", f, maxConfig)
		}
		var data []byte
		if err == nil {
			data, err = os.ReadFile(f)
		}
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		hosts, err := parseHosts(string(data))
		if err != nil {
			return nil, fmt.Errorf("configuration %s: %w", f, err)
		}
		maps.Copy(all, hosts)
	}
	return all, nil
}

// parseHosts reads the table of registries, and nothing else.
func parseHosts(text string) (map[string]Host, error) {
	var c struct {
		Registries map[string]Host `toml:"registries"`
	}
	meta, err := toml.Decode(text, &c)
	if err != nil {
		return nil, err
	}
	for _, key := range meta.Undecoded() {
		if len(key) > 1 && key[0] == "registries" {
			return nil, fmt.Errorf("%s: no such setting: choose mirrors, insecure, ca, cert or key", key)
		}
	}
	for h, conf := range c.Registries {
		if h == "" || strings.ContainsAny(h, "/@ ") {
			return nil, fmt.Errorf("registries.%q: want host or host:port, without https://", h)
		}
		for _, m := range conf.Mirrors {
			if m == "" || strings.Contains(m, "://") || strings.HasSuffix(m, "/") {
				return nil, fmt.Errorf("registries.%q: mirror %q: want host[:port][/path], without https://", h, m)
			}
		}
		if (conf.Cert == "") != (conf.Key == "") {
			return nil, fmt.Errorf("registries.%q: cert and key come together", h)
		}
	}
	return c.Registries, nil
}

// certificates returns the TLS configuration of a host that has certificates
// of its own, and nil for others.
func (c *Client) certificates(host string) (*tls.Config, error) {
	conf := c.o.Hosts[host]
	var cas []string
	var pairs [][2]string
	if conf.CA != "" {
		cas = append(cas, conf.CA)
	}
	if conf.Cert != "" {
		pairs = append(pairs, [2]string{conf.Cert, conf.Key})
	}
	for _, dir := range c.o.CertDirs {
		found, err := filepath.Glob(filepath.Join(dir, host, "*.crt"))
		if err != nil {
			return nil, err
		}
		cas = append(cas, found...)
		certs, err := filepath.Glob(filepath.Join(dir, host, "*.cert"))
		if err != nil {
			return nil, err
		}
		for _, f := range certs {
			pairs = append(pairs, [2]string{f, strings.TrimSuffix(f, ".cert") + ".key"})
		}
	}
	if len(cas) == 0 && len(pairs) == 0 {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	t.RootCAs = pool
	for _, f := range cas {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s: no certificate in it", f)
		}
	}
	for _, p := range pairs {
		pair, err := tls.LoadX509KeyPair(p[0], p[1])
		if err != nil {
			return nil, err
		}
		t.Certificates = append(t.Certificates, pair)
	}
	return t, nil
}
