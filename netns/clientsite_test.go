// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// siteName is the host that real clients are let out to.
const siteName = "site.test"

// site is a web server with what real programs ask for.
type site struct {
	big []byte // what /down has
	dir string // of files and repositories
	ca  string // file of the authority that signed for it
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// newSite puts the site in place of the world's own web servers, also on port
// 50051 as HTTP/2 without TLS.
func newSite(t *testing.T, w *world, dir string) *site {
	t.Helper()
	s := &site{big: bytes.Repeat([]byte("cpc downloads this."), 8<<20/19), dir: dir, ca: filepath.Join(dir, "ca.pem")}
	cert := s.authority(t)
	s.repository(t)
	handler := s.handler(t)
	var withoutTLS http.Protocols
	withoutTLS.SetUnencryptedHTTP2(true)
	for port, o := range map[string]*http.Server{ //nolint:gosec // for tests
		"80": {}, "443": {TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}, "50051": {Protocols: &withoutTLS},
	} {
		at := net.JoinHostPort(public, port)
		if old := w.all[at]; old != nil {
			_ = old.Close()
		}
		var l net.Listener
		if err := w.t.inside(w.ns, func() (err error) { l, err = net.Listen("tcp", at); return err }); err != nil {
			t.Fatal(err)
		}
		o.Handler, o.ReadHeaderTimeout = handler, time.Minute
		t.Cleanup(func() { _ = o.Close() })
		go func() {
			if o.TLSConfig != nil {
				_ = o.ServeTLS(l, "", "")
			} else {
				_ = o.Serve(l)
			}
		}()
	}
	return s
}

// authority makes a certificate that is its own authority.
func (s *site) authority(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: siteName}, DNSNames: []string{siteName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (s *site) write(t *testing.T, name string, data []byte) {
	t.Helper()
	file := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil { //nolint:gosec // the sandbox reads it
		t.Fatal(err)
	}
}

// repository makes one that can be cloned and pushed to.
func (s *site) repository(t *testing.T) {
	t.Helper()
	s.write(t, "new/big", s.big)
	for _, args := range [][]string{
		{"init", "-q", "-b", "main", "new"},
		{"-C", "new", "add", "."},
		{"-C", "new", "-c", "user.name=test", "-c", "user.email=test@site.test", "commit", "-q", "-m", "first"},
		{"clone", "-q", "--bare", "new", "git/repo"},
		{"-C", "git/repo", "config", "http.receivepack", "true"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "HOME="+s.dir, "GIT_CONFIG_NOSYSTEM=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
}

func (s *site) handler(t *testing.T) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello from "+r.Host) })
	mux.HandleFunc("/down", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(s.big) })
	mux.HandleFunc("/up", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
	})
	mux.HandleFunc("/cut", s.cut)
	mux.HandleFunc("/cut/", s.cut)
	mux.Handle("/ws", websocket.Server{Handler: speak})
	mux.HandleFunc("/test.Echo/", answerCalls)
	git := &cgi.Handler{
		Path: "/usr/lib/git-core/git-http-backend", Root: "/git", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(s.dir, "git"), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=test", "HOME=" + s.dir, "GIT_CONFIG_NOSYSTEM=1"},
	}
	mux.HandleFunc("/git/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // CGI has no chunks
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		git.ServeHTTP(w, r)
	})
	s.packages(t, mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Connection", r.RemoteAddr)
		mux.ServeHTTP(w, r)
	})
}

// cut ends an answer before its end.
func (s *site) cut(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write(s.big[:len(s.big)/8])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// packages has one package of npm, and one of apt.
func (s *site) packages(t *testing.T, mux *http.ServeMux) {
	t.Helper()
	var tarball bytes.Buffer
	z := gzip.NewWriter(&tarball)
	w := tar.NewWriter(z)
	for name, data := range map[string][]byte{"package/package.json": []byte(`{"name":"thing","version":"1.0.0"}`), "package/big": s.big} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("/npm/thing", func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		integrity := sha512.Sum512(tarball.Bytes())
		_ = json.NewEncoder(w).Encode(map[string]any{
			"name": "thing", "dist-tags": map[string]string{"latest": "1.0.0"},
			"versions": map[string]any{"1.0.0": map[string]any{"name": "thing", "version": "1.0.0", "dist": map[string]string{
				"tarball":   scheme + "://" + r.Host + "/npm/thing.tgz",
				"integrity": "sha512-" + base64.StdEncoding.EncodeToString(integrity[:]),
			}}},
		})
	})
	mux.HandleFunc("/npm/thing.tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(tarball.Bytes()) })
	index := fmt.Sprintf("Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: test\nFilename: ./thing.deb\nSize: %d\nSHA256: %s\nDescription: thing\n", len(s.big), sum(s.big))
	s.write(t, "apt/Packages", []byte(index))
	s.write(t, "apt/thing.deb", s.big)
	mux.Handle("/apt/", http.FileServer(http.Dir(s.dir)))
}

// speak sends a WebSocket's messages back, and breaks off where it is asked to.
func speak(ws *websocket.Conn) {
	type message struct {
		kind byte
		data []byte
	}
	codec := websocket.Codec{
		Marshal:   func(v any) ([]byte, byte, error) { m := v.(message); return m.data, m.kind, nil },
		Unmarshal: func(data []byte, kind byte, v any) error { *v.(*message) = message{kind, data}; return nil },
	}
	for {
		var m message
		if codec.Receive(ws, &m) != nil {
			_ = ws.Close() // with a frame that says so
			return
		}
		if string(m.data) == "cut" {
			panic(http.ErrAbortHandler)
		}
		if codec.Send(ws, m) != nil {
			return
		}
	}
}

// answerCalls is a gRPC server for calls that echo, one message or a stream of
// them, as its protocol over HTTP/2 has it. One of the calls is broken off.
func answerCalls(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	out := http.NewResponseController(w)
	for {
		var head [5]byte
		if _, err := io.ReadFull(r.Body, head[:]); errors.Is(err, io.EOF) {
			w.Header().Set("Grpc-Status", "0")
			return
		} else if err != nil {
			panic(http.ErrAbortHandler)
		}
		message := make([]byte, min(binary.BigEndian.Uint32(head[1:]), 4<<20))
		if _, err := io.ReadFull(r.Body, message); err != nil {
			panic(http.ErrAbortHandler)
		}
		if strings.HasSuffix(r.URL.Path, "/Cut") {
			_ = out.Flush()
			panic(http.ErrAbortHandler)
		}
		if _, err := w.Write(append(head[:], message...)); err != nil {
			return
		}
		_ = out.Flush()
	}
}
