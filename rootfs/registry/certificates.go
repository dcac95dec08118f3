// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Certificates are the files of certificates for registries: those that the
// configuration names, and those in directories like /etc/docker/certs.d. The files of
// a host are read once, when it is first reached: all clients that share the
// Certificates see one state of them. They serve several goroutines.
type Certificates struct {
	dirs []string
	mu   sync.Mutex // guards read
	read map[hostFiles]hostTLS
}

// hostFiles are where the certificates of a host are.
type hostFiles struct{ host, ca, cert, key string }

// hostTLS is what came of reading them: nil where there are none.
type hostTLS struct {
	conf *tls.Config
	err  error
}

// NewCertificates looks into these directories. Nothing is read yet.
func NewCertificates(dirs ...string) *Certificates {
	return &Certificates{dirs: dirs, read: map[hostFiles]hostTLS{}}
}

// of returns the TLS configuration of a host that has certificates of its own, and nil
// for others. The caller may change it.
func (c *Certificates) of(host string, conf Host) (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := hostFiles{host, conf.CA, conf.Cert, conf.Key}
	known, ok := c.read[files]
	if !ok {
		known.conf, known.err = c.readHost(host, conf)
		c.read[files] = known
	}
	return known.conf.Clone(), known.err // of nil, nil
}

// readHost reads the files of a host.
func (c *Certificates) readHost(host string, conf Host) (*tls.Config, error) {
	var cas []string
	var pairs [][2]string
	if conf.CA != "" {
		cas = append(cas, conf.CA)
	}
	if conf.Cert != "" {
		pairs = append(pairs, [2]string{conf.Cert, conf.Key})
	}
	for _, dir := range c.dirs {
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
