// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

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
			return fmt.Errorf("registries.%q: must be host or host:port, without https://", h)
		}
		for _, m := range conf.Mirrors {
			if m == "" || strings.Contains(m, "://") || strings.HasSuffix(m, "/") {
				return fmt.Errorf("registries.%q: mirror %q: must be host[:port][/path], without https://", h, m)
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
		data, err := readCertificates(f)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s: no certificate in it", f)
		}
	}
	for _, p := range pairs {
		pair, err := readPair(p[0], p[1])
		if err != nil {
			return nil, err
		}
		t.Certificates = append(t.Certificates, pair)
	}
	return t, nil
}

// readPair reads a certificate and its key.
func readPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readCertificates(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readCertificates(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}

// maxCertificates bounds a file of certificates: the authorities of a distribution
// have a quarter of a megabyte.
const maxCertificates = 8 << 20

// readCertificates reads a file that the configuration names, or that is in a
// directory of certificates. It may be a link, and anybody's, as the directory says who may
// put one there; a FIFO or a device is not waited for.
func readCertificates(path string) ([]byte, error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCertificates {
		return nil, fmt.Errorf("%s: not a file of certificates: not a regular file, or larger than %d bytes", path, maxCertificates)
	}
	return io.ReadAll(io.LimitReader(f, maxCertificates))
}
