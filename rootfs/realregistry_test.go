// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/internal/testkit"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

const (
	registryUser     = "cpc"
	registryPassword = "correct horse"
	// registryUsers is a line of htpasswd for them.
	registryUsers = `cpc:$2b$05$Qy3nyhaOATyPu7p2iU4JYeHizKhC9KT8fMNnqMGYBj3yWg7zlie5G`
)

// debianRegistry runs Debian's docker-registry with TLS and basic
// authentication, and returns its address and the file of its authority.
func debianRegistry(t modetest.T) (host, ca string) {
	t.Helper()
	dir := t.TempDir()
	ca = filepath.Join(dir, "ca.crt")
	certify(t, ca, filepath.Join(dir, "key.pem"))
	mustWrite(t, filepath.Join(dir, "htpasswd"), registryUsers+"\n")
	return runRegistry(t, dir, "{htpasswd: {realm: test, path: "+dir+"/htpasswd}}"), ca
}

// runRegistry runs docker-registry with the certificate in dir and an entry
// "auth" of its configuration.
func runRegistry(t modetest.T, dir, auth string) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %[1]s/data}}
http: {addr: "%[2]s", tls: {certificate: %[1]s/ca.crt, key: %[1]s/key.pem}}
auth: %[3]s
`, dir, host, auth)
	mustWrite(t, filepath.Join(dir, "config.yml"), config)
	cmd := exec.Command("docker-registry", "serve", filepath.Join(dir, "config.yml"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if said, err := os.ReadFile(log.Name()); t.Failed() {
			t.Log(string(said), err)
		}
	})
	testkit.Eventually(t, testkit.Patience, "answer of docker-registry", func() bool {
		c, err := net.Dial("tcp", host)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return host
}

// certify makes a certificate for 127.0.0.1 that is its own authority.
func certify(tb testing.TB, cert, key string) {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		tb.Fatal(err)
	}
	mustWrite(tb, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	mustWrite(tb, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
}

// TestDebianRegistry does everything against a registry server as people run
// it: logging in, pushing, mounting, pulling, tags, referrers; and has skopeo
// read and write beside it.
func TestDebianRegistry(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root}, func(t modetest.T) {
		host, ca := debianRegistry(t)
		docker := t.TempDir()
		t.Setenv("DOCKER_CONFIG", docker)
		t.Setenv("HOME", docker)
		s := openStore(t, t.Mapping)
		img := importTar(t, s, host+"/one:v1.0.0", entry{name: "f", content: noise(3 << 20)})
		attach(t, s, img.Digest, "about it")

		if _, err := s.Push(t.Context(), host+"/one:v1.0.0", PushOptions{}); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("without its authority: %v", err)
		}
		client := func() *registry.Client {
			return registry.New(registry.Options{Pause: time.Millisecond, Hosts: map[string]registry.Host{host: {CA: ca}}})
		}
		if _, err := s.Push(t.Context(), host+"/one:v1.0.0", PushOptions{Client: client()}); !errors.Is(err, ErrPushDenied) {
			t.Errorf("without a login: %v", err)
		}
		wrong := registry.Credentials{Username: registryUser, Password: "wrong secret"}
		if err := client().Verify(t.Context(), host, wrong); !errors.Is(err, registry.ErrDenied) || strings.Contains(err.Error(), "secret") {
			t.Errorf("wrong password: %v", err)
		}
		right := registry.Credentials{Username: registryUser, Password: registryPassword}
		if err := client().Verify(t.Context(), host, right); err != nil {
			t.Fatal(err)
		}
		if err := registry.Store(host, right); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(docker, "config.json")
		if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		interchange(t, s, img, place{host, ca, file}, client())
		cacheByRegistry(t, s, img, host, client())
		if had, err := registry.Erase(host); err != nil || !had {
			t.Errorf("logged out: %v %v", had, err)
		}
		if _, err := otherStore(t).Pull(t.Context(), host+"/one:v1.0.0", PullOptions{Client: client()}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "cpc login") {
			t.Errorf("after logging out: %v", err)
		}
	})
}

// cacheByRegistry moves a build cache to another store.
func cacheByRegistry(t modetest.T, s *Store, img *Image, host string, client *registry.Client) {
	t.Helper()
	layer, empty, other := digest.FromString("layer"), digest.FromString("empty"), digest.FromString("other")
	l := img.LayerDescriptors()[0]
	for key, e := range map[digest.Digest]CacheEntry{layer: {Layer: l, Config: []byte(`{"n":1}`)}, empty: {Layer: LayerDescriptor{Empty: true}}} {
		if err := s.CachePut(key, e); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := s.CacheList([]digest.Digest{layer, empty, other}, nil)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	if few, err := s.CacheList([]digest.Digest{layer, empty}, []*Image{{}}); err != nil || len(few) != 1 {
		t.Errorf("of an image without the layer: %v, %v", few, err)
	}
	if err := s.PushCache(t.Context(), host+"/cache:1", entries, client); err != nil {
		t.Fatal(err)
	}
	o := otherStore(t)
	c, err := o.OpenCache(t.Context(), host+"/cache:1", PullOptions{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	if o.HaveBlob(l.Descriptor) {
		t.Error("the layer comes before it is asked for")
	}
	for key, want := range map[digest.Digest]bool{layer: true, empty: true, other: false} {
		if _, ok, err := c.Get(t.Context(), key); err != nil || ok != want {
			t.Errorf("%s: %v, %v; want %v", key, ok, err, want)
		}
		if _, ok, err := o.CacheGet(key); err != nil || ok != want {
			t.Errorf("%s in the store: %v, %v; want %v", key, ok, err, want)
		}
	}
	if !o.HaveLayer(l.DiffID) {
		t.Error("the layer is not unpacked")
	}
	if c, err := o.OpenCache(t.Context(), host+"/one:v1.0.0", PullOptions{Client: client}); err != nil || len(c.entries) != 0 {
		t.Errorf("an image without a cache: %v", err)
	}
}

// place is a registry, its authority's file and that of the credentials.
type place struct{ host, ca, auth string }

func interchange(t modetest.T, s *Store, img *Image, at place, client *registry.Client) {
	t.Helper()
	host := at.host
	if done, err := s.Push(t.Context(), host+"/one:v1.0.0", PushOptions{Client: client}); err != nil || done.Digest != img.Digest {
		t.Fatalf("pushed %+v, %v", done, err)
	}
	if found, err := RemoteReferrers(t.Context(), client, host+"/one:v1.0.0"); err != nil || len(found) != 1 {
		t.Errorf("referrers %v, %v", found, err)
	}
	if err := s.Tag(t.Context(), host+"/one:v1.0.0", host+"/team/two:latest"); err != nil {
		t.Fatal(err)
	}
	var uploaded int
	_, err := s.Push(t.Context(), host+"/team/two", PushOptions{Client: client, NoReferrers: true, Progress: func(e Event) {
		if e.Action == "pushed" && e.Total > 1<<20 {
			uploaded++
		}
	}})
	if err != nil || uploaded != 0 {
		t.Errorf("%d large layers were sent instead of mounted, %v", uploaded, err)
	}
	o := otherStore(t)
	got, err := o.Pull(t.Context(), host+"/team/two", PullOptions{Client: client, Unpack: true})
	if err != nil || got.Digest != img.Digest || !o.HaveLayer(img.Config.RootFS.DiffIDs[0]) {
		t.Fatalf("pulled %+v, %v", got, err)
	}
	certs := filepath.Join(filepath.Dir(at.ca), "certs")
	mustMkdir(t, certs)
	data, err := os.ReadFile(at.ca)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(certs, "ca.crt"), string(data))
	skopeo := exec.CommandContext(t.Context(), "skopeo", "copy", "--authfile", at.auth, "--src-cert-dir", certs, "--dest-cert-dir", certs,
		"docker://"+host+"/one:v1.0.0", "docker://"+host+"/skopeo:v2")
	if out, err := skopeo.CombinedOutput(); err != nil {
		t.Fatalf("skopeo: %v\n%s", err, out)
	}
	if got, err := o.Pull(t.Context(), host+"/skopeo:v2", PullOptions{Client: client}); err != nil || got.ConfigDigest != img.ConfigDigest {
		t.Errorf("what skopeo pushed: %v %v", got, err)
	}
}
