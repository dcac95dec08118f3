// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/miekg/dns"
)

const (
	serverName = "good.test"
	serverAddr = "10.1.2.3"
	rawPort    = "9000"
	httpPort   = "80"
	httpsPort  = "443"
)

// serve runs in W until it is killed. It says on stdout when it listens.
func serve() error {
	raw, err := net.Listen("tcp", net.JoinHostPort(serverAddr, rawPort))
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", net.JoinHostPort(serverAddr, httpPort))
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", net.JoinHostPort(serverAddr, httpsPort))
	if err != nil {
		return err
	}
	cert, err := certificate()
	if err != nil {
		return err
	}
	body := make([]byte, 1024)
	s := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }),
		ReadHeaderTimeout: time.Minute,
	}
	failed := make(chan error)
	go func() { // the one that started this has ended
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	go func() { failed <- s.Serve(plain) }()
	go func() { failed <- s.Serve(tls.NewListener(secure, &tls.Config{Certificates: []tls.Certificate{cert}})) }()
	go func() { failed <- serveRaw(raw) }()
	names, err := net.ListenPacket("udp", net.JoinHostPort(serverAddr, "53"))
	if err != nil {
		return err
	}
	go func() {
		failed <- (&dns.Server{PacketConn: names, Handler: dns.HandlerFunc(answerName)}).ActivateAndServe()
	}()
	fmt.Fprintln(os.Stdout, "ready")
	return <-failed
}

// answerName says that all names have the server's IPv4 address, and no other.
func answerName(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg)
	r.SetReply(q)
	if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeA {
		r.Answer = append(r.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(serverAddr),
		})
	}
	_ = w.WriteMsg(r)
}

// serveRaw does what the first byte of a connection says.
func serveRaw(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = c.Close() }()
			what := make([]byte, 1)
			if _, err := io.ReadFull(c, what); err != nil {
				return
			}
			switch what[0] {
			case 'd':
				_, _ = io.CopyBuffer(c, struct{ io.Reader }{zeros{}}, make([]byte, 256<<10))
			case 'u':
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, c, make([]byte, 256<<10))
			case 'e':
				_, _ = c.Write(what)
			}
		}()
	}
}

func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{serverName}, NotAfter: time.Now().Add(time.Hour)}
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, errors.Join(err)
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
