// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const registriesImage = "cpc-e2e/registries:latest"

// The package managers of Dockerfile.sandbox, each with the preset that is its
// own and with another's. The image is built here, so its RUN apt-get goes
// through the gateway, too.
func TestRegistries(t *testing.T) {
	eachOf(t, []string{mapped}, func(t *testing.T, w *who) {
		w.buildRegistries(t)
		const apt = `mkdir -p /tmp/s/lists/partial /tmp/c/archives/partial && apt-get update -o Dir::State=/tmp/s -o Dir::Cache=/tmp/c ` +
			`-o Acquire::Retries=0 -o APT::Update::Error-Mode=any && ls /tmp/s/lists | grep -c Packages >/dev/null && echo got it`
		const npm = `cd && npm install --fetch-retries 0 --no-audit --no-fund --no-update-notifier left-pad >&2 && ` +
			`node -e 'console.log(require("left-pad")("got it", 6))'`
		const goget = `cd && mkdir m && cd m && go mod init m && GOPROXY=https://proxy.golang.org GOSUMDB=off go mod download rsc.io/quote@v1.5.2 && ` +
			`ls "$(go env GOMODCACHE)/rsc.io" && echo got it`
		for _, c := range []struct{ name, script, own, others string }{
			{"apt", apt, "@debian", "@npm"},
			{"npm", npm, "@npm", "@go"},
			{"go", goget, "@go", "@debian"},
		} {
			ask := func(preset string) (string, string, int) {
				return w.run(t, "run", "--rm", "--host-ca", "--egress", preset, registriesImage, "bash", "-c", c.script)
			}
			if stdout, stderr, code := ask(c.own); code != 0 || !strings.Contains(stdout, "got it") {
				t.Errorf("%s with %s: exit status %d\n%s%s", c.name, c.own, code, stdout, stderr)
			}
			start := time.Now()
			if stdout, stderr, code := ask(c.others); code == 0 || strings.Contains(stdout, "got it") {
				t.Errorf("%s with %s: exit status %d\n%s%s", c.name, c.others, code, stdout, stderr)
			} else if took := time.Since(start); took > 45*time.Second {
				t.Errorf("%s with %s failed after %v; it should at once", c.name, c.others, took)
			}
		}
		w.pip(t)
	})
}

// buildRegistries builds Dockerfile.sandbox, and puts the go command on top.
func (w *who) buildRegistries(t *testing.T) {
	t.Helper()
	dir := filepath.Join(w.home, "registries-image")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a build context
		t.Fatal(err)
	}
	copyContext(t, w, filepath.Join(dir, "sandbox"))
	goroot, err := exec.Command("../../scripts/go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin/go", "go.env", "VERSION"} {
		copyFile(t, filepath.Join(strings.TrimSpace(string(goroot)), name), filepath.Join(dir, "go", name))
	}
	dockerfile := "FROM cpc-e2e/sandbox:latest\nCOPY go /usr/local/go\nENV PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin GOROOT=/usr/local/go GOTOOLCHAIN=local\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil { //nolint:gosec // a build context
		t.Fatal(err)
	}
	w.buildSlowly(t, "-f", filepath.Join(dir, "sandbox/Dockerfile.sandbox"), "-t", "cpc-e2e/sandbox:latest", filepath.Join(dir, "sandbox"))
	w.buildSlowly(t, "-t", registriesImage, dir)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // a build context
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
}

// pip gets a package of an index that this test serves under pypi.org's names,
// through a proxy of the host's, and trusts it by the CA that the sandbox is
// given.
func (w *who) pip(t *testing.T) {
	t.Helper()
	index, ca := serveIndex(t)
	var asked lockedBuffer
	proxy := serveProxy(t, index, &asked)
	file := filepath.Join(w.home, "index-ca.pem")
	if err := os.WriteFile(file, ca, 0o644); err != nil { //nolint:gosec // a certificate
		t.Fatal(err)
	}
	ask := func(preset string) result {
		cmd := w.cpc(t, "run", "--rm", "--proxy", "--host-ca="+file, "--egress", preset, registriesImage, "bash", "-c",
			"cd && pip install --retries 0 --disable-pip-version-check --target t cpcdemo && PYTHONPATH=t python3 -c 'import cpcdemo'")
		cmd.Env = append(cmd.Env, "HTTPS_PROXY=http://"+proxy, "HTTP_PROXY=http://"+proxy)
		return finish(t, cmd)
	}
	if r := ask("@pypi"); r.code != 0 || !strings.Contains(r.stdout, "hello from the index") {
		t.Errorf("with @pypi: exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if got := asked.String(); !strings.Contains(got, "pypi.org:443") {
		t.Errorf("the proxy was asked for %q", got)
	}
	if r := ask("@npm"); r.code == 0 {
		t.Errorf("with @npm: exit status 0\n%s%s", r.stdout, r.stderr)
	}
}

// serveIndex serves a package index with one package, and returns its address
// and the certificate of its authority.
func serveIndex(t *testing.T) (addr string, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cpc test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "pypi.org"}, DNSNames: []string{"pypi.org", "files.pythonhosted.org"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	wheel := demoWheel(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/simple/cpcdemo/", func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(out, `<html><body><a href="https://files.pythonhosted.org/cpcdemo-1.0-py3-none-any.whl">cpcdemo-1.0-py3-none-any.whl</a></body></html>`)
	})
	mux.HandleFunc("/cpcdemo-1.0-py3-none-any.whl", func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write(wheel) })
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	return l.Addr().String(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
}

func demoWheel(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct{ name, text string }{
		{"cpcdemo.py", "print('hello from the index')\n"},
		{"cpcdemo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: cpcdemo\nVersion: 1.0\n"},
		{"cpcdemo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"cpcdemo-1.0.dist-info/RECORD", "cpcdemo.py,,\ncpcdemo-1.0.dist-info/METADATA,,\ncpcdemo-1.0.dist-info/WHEEL,,\ncpcdemo-1.0.dist-info/RECORD,,\n"},
	} {
		w, err := z.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// serveProxy serves an HTTP proxy that knows CONNECT, and leads wherever it is
// asked for to one address.
func serveProxy(t *testing.T, to string, asked io.Writer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(asked, r.Method, r.Host)
		if r.Method != http.MethodConnect {
			http.Error(out, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		up, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(out, err.Error(), http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, buffered, err := http.NewResponseController(out).Hijack()
		if err != nil {
			return
		}
		defer down.Close()
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(up, buffered); _ = up.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(down, up)
	})}
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	return l.Addr().String()
}
