// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/claude-pocket-console/cpc/internal/config"
)

// Host says how a registry is reached.
type Host = config.Registry

// Hosts returns how registries are reached. What the user says of one replaces
// what the administrator says.
func Hosts(c config.Config) (map[string]Host, error) {
	all := make(map[string]Host)
	for _, f := range []config.File{c.System, c.User} {
		if err := checkHosts(f.Registries); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", f.Path, err)
		}
		maps.Copy(all, f.Registries)
	}
	return all, nil
}

func checkHosts(hosts map[string]Host) error {
	for h, conf := range hosts {
		if h == "" || strings.ContainsAny(h, "/@ ") {
			return fmt.Errorf("registries.%q: want host or host:port, without https://", h)
		}
		for _, m := range conf.Mirrors {
			if m == "" || strings.Contains(m, "://") || strings.HasSuffix(m, "/") {
				return fmt.Errorf("registries.%q: mirror %q: want host[:port][/path], without https://", h, m)
			}
		}
		if (conf.Cert == "") != (conf.Key == "") {
			return fmt.Errorf("registries.%q: cert and key come together", h)
		}
	}
	return nil
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
