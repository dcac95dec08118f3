// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/netns/policy"
)

func vector16(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func extension(kind uint16, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, kind), vector16(data)...)
}

func sniData(name string) []byte { return vector16(append([]byte{0}, vector16([]byte(name))...)) }

// hello makes a ClientHello message; an empty name leaves SNI out.
func hello(name string, more ...[]byte) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0)
	body = append(body, vector16([]byte{0x13, 1})...)
	body = append(body, 1, 0)
	ext := extension(0x2b, []byte{2, 3, 4})
	if name != "" {
		ext = append(ext, extension(extensionSNI, sniData(name))...)
	}
	for _, e := range more {
		ext = append(ext, e...)
	}
	body = append(body, vector16(ext)...)
	return append([]byte{clientHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// records splits a message into records of at most size bytes.
func records(msg []byte, size int) (out []byte) {
	for part := range slices.Chunk(msg, size) {
		out = append(append(out, recordHandshake, 3, 1), vector16(part)...)
	}
	return out
}

func TestReadHello(t *testing.T) {
	for _, size := range []int{1, 3, 5, 100, 1 << 14} {
		raw := records(hello("a.test"), size)
		got, name, err := readHello(io.MultiReader(bytes.NewReader(raw), strings.NewReader("more")), nil)
		if err != nil || name != "a.test" || !bytes.Equal(got, raw) {
			t.Errorf("records of %d: %q, %d of %d bytes, %v", size, name, len(got), len(raw), err)
		}
	}
}

// realHello is what Go's client sends.
func realHello(tb testing.TB) []byte {
	tb.Helper()
	a, b := net.Pipe()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: "go.test"}).HandshakeContext(tb.Context())
		_ = a.Close()
	}()
	defer b.Close()
	raw, name, err := readHello(b, nil)
	if err != nil || name != "go.test" {
		tb.Fatalf("%q, %v", name, err)
	}
	return raw
}

// FuzzHello: no bytes crash the parser, and a server name that it finds is the
// one that Go's server finds.
func FuzzHello(f *testing.F) {
	f.Add(realHello(f))
	f.Add(records(hello("a.test"), 7))
	f.Add(records(hello("", extension(0xfe0d, nil)), 1000))
	f.Fuzz(func(t *testing.T, raw []byte) {
		read, name, err := readHello(bytes.NewReader(raw), nil)
		if len(read) > len(raw) || !bytes.Equal(read, raw[:len(read)]) {
			t.Fatalf("read %x of %x", read, raw)
		}
		if err != nil {
			return
		}
		theirs := ""
		a, b := net.Pipe()
		go func() { _, _ = a.Write(read); _ = a.Close() }()
		config := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			theirs = h.ServerName
			return nil, io.EOF
		}}
		go func() { _, _ = io.Copy(io.Discard, a) }()
		_ = tls.Server(b, config).HandshakeContext(t.Context())
		_ = b.Close()
		if theirs != "" && strings.TrimSuffix(theirs, ".") != strings.TrimSuffix(name, ".") {
			t.Fatalf("we read %q, Go %q", name, theirs)
		}
	})
}

// badHeads are requests that must not reach a.test.
func badHeads() []string {
	h := "Host: a.test\r\n"
	return []string{
		"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\n" + h + "Host: b.test\r\n\r\n",
		"GET / HTTP/1.1\r\n" + h + h + "\r\n",
		"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test:1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: b.test@a.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test\x00\r\n\r\n",
		"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n",
		"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n",
		"GET / HTTP/1.1\r\nX: y\r\n Host: b.test\r\n" + h + "\r\n",
		"GET / HTTP/1.1\nHost: a.test\n\n",
		"GET / HTTP/1.1\r\nHost: a.test\nHost: b.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test\rHost: b.test\r\n\r\n",
		"GET http://b.test/ HTTP/1.1\r\n" + h + "\r\n",
		"GET http://a.test@b.test/ HTTP/1.1\r\n" + h + "\r\n",
		"GET http://b.test\\@a.test/ HTTP/1.1\r\n" + h + "\r\n",
		"GET http:///x HTTP/1.1\r\n" + h + "\r\n",
		"GET /x#y HTTP/1.1\r\n" + h + "\r\n",
		"GET http://a.test#@b.test/ HTTP/1.1\r\n" + h + "\r\n",
		"OPTIONS *#x HTTP/1.1\r\n" + h + "\r\n",
		"GET http://user@a.test/ HTTP/1.1\r\n" + h + "\r\n",
		"GET http://user:80@a.test/ HTTP/1.1\r\n" + h + "\r\n",
		"GET / HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: @a.test:80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ａ.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a。test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.te\xadst\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.te\u00adst\r\n\r\n",
		"GET https://a.test/ HTTP/1.1\r\n" + h + "\r\n",
		"GET b.test/ HTTP/1.1\r\n" + h + "\r\n",
		"GET * HTTP/1.1\r\n" + h + "\r\n",
		"GET  / HTTP/1.1\r\n" + h + "\r\n",
		"GET /\tx HTTP/1.1\r\n" + h + "\r\n",
		"GET / x HTTP/1.1\r\n" + h + "\r\n",
		"GET / HTTP/2.0\r\n" + h + "\r\n",
		"GET / HTTP/1.1 \r\n" + h + "\r\n",
		"GET /\r\n" + h + "\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n",
		"CONNECT a.test:443 HTTP/1.1\r\n" + h + "\r\n",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		"GET / HTTP/1.1\r\n" + h + "Connection: close, Host\r\n\r\n",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: 5\r\nConnection: content-length\r\n\r\nhello",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: +5\r\n\r\nhello",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: 0x5\r\n\r\nhello",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: 5, 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: 99999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + h + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + h + "Content-Length: 3\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabc",
		"GET / HTTP/1.1\r\n" + h + "X\r\n\r\n",
		"GET / HTTP/1.1\r\n" + h + "X y: z\r\n\r\n",
		"GET / HTTP/1.1\r\n" + h + strings.Repeat("X: y\r\n", maxFields) + "\r\n",
		"GET / HTTP/1.1\r\n" + h + "X: " + strings.Repeat("y", maxHead) + "\r\n\r\n",
		"GET / HTTP/1.1\r\n" + h,
		"\x16\x03\x01\x02\x00\x01\x00",
		"SSH-2.0-OpenSSH_9\r\n",
		"",
	}
}

func TestBadChunks(t *testing.T) {
	for _, body := range []string{
		"5\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "\r\n", "g\r\n",
		"5 5\r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\n", "5\r\nhelloXX0\r\n\r\n", "0\r\nGET / HTTP/1.1\r\nHost: b.test\r\n\r\n",
		"5;" + strings.Repeat("x", 5000) + "\r\nhello\r\n0\r\n\r\n", "0\r\n" + strings.Repeat("X: y\r\n", maxFields+1) + "\r\n",
	} {
		var out bytes.Buffer
		if err := copyBody(&out, bufio.NewReader(strings.NewReader(body)), chunked); err == nil {
			t.Errorf("%.40q passed as %q", body, out.String())
		}
	}
}

// FuzzHead: a head that passes is one request to net/http too, for the same
// host and with a body of the same length.
func FuzzHead(f *testing.F) {
	for _, h := range badHeads() {
		f.Add([]byte(h))
	}
	f.Add([]byte("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: a.test:80\r\nTransfer-Encoding: chunked\r\n\r\n"))
	a := policy.Host{Name: "a.test"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, err := readHead(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		h, err := parseHead(text)
		if err != nil || h.checkHost(a, 80, nil) != nil {
			return
		}
		if !bytes.HasSuffix(h.out, []byte("\r\n\r\n")) || bytes.Count(h.out, []byte("\r\n\r\n")) != 1 {
			t.Fatalf("%q goes out as %q", raw, h.out)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(h.out)))
		if err != nil {
			return // net/http is stricter about targets
		}
		host := r.Host
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			host = host[:i]
		}
		got, err := policy.ParseHost(host)
		if err != nil || got != a {
			t.Fatalf("%q: net/http reads host %q", h.out, r.Host)
		}
		if h.length != r.ContentLength {
			t.Fatalf("%q: length %d, net/http %d", h.out, h.length, r.ContentLength)
		}
	})
}

// FuzzBody: what goes out of a chunked body is one that net/http reads whole.
func FuzzBody(f *testing.F) {
	f.Add([]byte("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"))
	f.Add([]byte("1\r\nx\r\n00\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var out bytes.Buffer
		br := bufio.NewReader(bytes.NewReader(body))
		if err := copyBody(&out, br, chunked); err != nil {
			return
		}
		request := "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + out.String() + "REST"
		theirs := bufio.NewReader(strings.NewReader(request))
		r, err := http.ReadRequest(theirs)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Fatalf("%q: %v", out.String(), err)
		}
		if rest, _ := io.ReadAll(theirs); string(rest) != "REST" {
			t.Fatalf("%q ends elsewhere for net/http: %q follows", out.String(), rest)
		}
	})
}

// TestHiddenNames: no extension by which a draft hid the name passes.
func TestHiddenNames(t *testing.T) {
	for _, kind := range []uint16{0xfe0d, 0xffce, 0xff02, 0xff03, 0xfd00, 0xda09, 0xfe08, 0xfe09, 0xfe0a, 0xfe0b, 0xfe0c} {
		if _, err := parseHello(hello("a.test", extension(kind, []byte{0, 0}))); err != errECH { //nolint:errorlint // it is returned as it is
			t.Errorf("%#x: %v", kind, err)
		}
	}
	for _, kind := range []uint16{0x0a0a, 0xfafa, 0xff01, 0x4469} { // GREASE, renegotiation, ALPS
		if name, err := parseHello(hello("a.test", extension(kind, []byte{0}))); err != nil || name != "a.test" {
			t.Errorf("%#x: %q, %v", kind, name, err)
		}
	}
}

// FuzzSameName: what passes is ASCII, and the very name but for case and a last
// dot, so that no server reads another.
func FuzzSameName(f *testing.F) {
	for _, s := range []string{"a.test", "A.TEST.", "ａ.test", "a。test", "a\u00ad.test", "user@a.test", "a.test:80", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, said string) {
		if sameName(said, policy.Host{Name: "a.test"}, nil) == nil && strings.TrimSuffix(strings.ToLower(said), ".") != "a.test" {
			t.Errorf("%q passes for a.test", said)
		}
	})
}
