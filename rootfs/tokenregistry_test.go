// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"crypto/ecdsa"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// tokenServer gives out what docker's registry calls tokens: anybody may pull
// from public/, and the user may do everything.
type tokenServer struct {
	pair tls.Certificate
	// lasts is how long its tokens are valid.
	lasts  atomic.Int64 // time.Duration
	tokens atomic.Int64
}

// access is what a token is for.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, named := r.BasicAuth()
	if named && (user != registryUser || password != registryPassword) {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	all := []access{}
	for _, scope := range r.URL.Query()["scope"] {
		part := strings.Split(scope, ":")
		if len(part) != 3 || !named && !strings.HasPrefix(part[1], "public/") {
			continue
		}
		actions := strings.Split(part[2], ",")
		if !named {
			actions = []string{"pull"}
		}
		all = append(all, access{part[0], part[1], actions})
	}
	s.tokens.Add(1)
	token, err := s.sign(r.URL.Query().Get("service"), user, all)
	if err == nil {
		err = json.NewEncoder(w).Encode(map[string]string{"token": token})
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// sign makes a token of RFC 7519, signed with ES256.
func (s *tokenServer) sign(service, user string, all []access) (string, error) {
	const leeway = time.Minute // of docker-registry
	now := time.Now()
	head := map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(s.pair.Certificate[0])}}
	claims := map[string]any{
		"iss": "tokens of cpc's tests", "sub": user, "aud": service, "access": all, "jti": fmt.Sprint(s.tokens.Load()),
		"iat": now.Add(-time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix(), "exp": now.Add(time.Duration(s.lasts.Load()) - leeway).Unix(),
	}
	var parts []string
	for _, v := range []any{head, claims} {
		data, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(data))
	}
	text := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(text))
	key := s.pair.PrivateKey.(*ecdsa.PrivateKey) //nolint:forcetypeassert // see certify
	x, y, err := ecdsa.Sign(crand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	const size = 32
	signature := append(x.FillBytes(make([]byte, size)), y.FillBytes(make([]byte, size))...)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// tokenRegistry runs docker-registry, and a token server for it, with TLS.
func tokenRegistry(t modetest.T) (host, ca string, tokens *tokenServer) {
	t.Helper()
	dir := t.TempDir()
	ca = filepath.Join(dir, "ca.crt")
	certify(t, ca, filepath.Join(dir, "key.pem"))
	pair, err := tls.LoadX509KeyPair(ca, filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	tokens = &tokenServer{pair: pair}
	tokens.lasts.Store(int64(time.Hour))
	srv := httptest.NewUnstartedServer(tokens)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	auth := fmt.Sprintf(`{token: {realm: "%s/token", service: test, issuer: "tokens of cpc's tests", rootcertbundle: %s}}`, srv.URL, ca)
	return runRegistry(t, dir, auth), ca, tokens
}

// TestTokenRegistry logs in, pushes, mounts and pulls, as a user and as
// nobody, where the registry asks for tokens of another server; also while
// tokens run out.
func TestTokenRegistry(t *testing.T) {
	modetest.In(t, []idmap.Mode{idmap.Root}, func(t modetest.T) {
		host, ca, tokens := tokenRegistry(t)
		docker := t.TempDir()
		t.Setenv("DOCKER_CONFIG", docker)
		t.Setenv("HOME", docker)
		client := func() *registry.Client {
			return registry.New(registry.Options{Pause: time.Millisecond, Hosts: map[string]registry.Host{host: {CA: ca}}})
		}
		s := openStore(t, t.Mapping)
		img := importTar(t, s, host+"/public/one:v1", entry{name: "f", content: noise(3 << 20)})
		attach(t, s, img.Digest, "about it")
		if err := s.Tag(t.Context(), host+"/public/one:v1", host+"/team/two:v1"); err != nil {
			t.Fatal(err)
		}

		if _, err := s.Push(t.Context(), host+"/public/one:v1", PushOptions{Client: client()}); !errors.Is(err, ErrPushDenied) {
			t.Errorf("nobody pushed: %v", err)
		}
		wrong := registry.Credentials{Username: registryUser, Password: "wrong secret"}
		if err := client().Verify(t.Context(), host, wrong); !errors.Is(err, registry.ErrDenied) || strings.Contains(err.Error(), "secret") {
			t.Errorf("wrong password: %v", err)
		}
		right := registry.Credentials{Username: registryUser, Password: registryPassword}
		if err := errors.Join(client().Verify(t.Context(), host, right), registry.Store(host, right)); err != nil {
			t.Fatal(err)
		}
		pushWhileTokensRunOut(t, s, tokens, host, client())
		if tags, err := RemoteTags(t.Context(), client(), host+"/team/two"); err != nil || len(tags) == 0 {
			t.Errorf("tags %v, %v", tags, err)
		}
		if found, err := RemoteReferrers(t.Context(), client(), host+"/public/one:v1"); err != nil || len(found) != 1 {
			t.Errorf("referrers %v, %v", found, err)
		}
		for _, ref := range []string{host + "/public/one:v1", host + "/team/two@" + img.Digest.String()} {
			if got, err := otherStore(t).Pull(t.Context(), ref, PullOptions{Client: client(), Unpack: true}); err != nil || got.Digest != img.Digest {
				t.Errorf("as the user: %v, %v", got, err)
			}
		}
		if had, err := registry.Erase(host); err != nil || !had {
			t.Errorf("logged out: %v %v", had, err)
		}
		if got, err := otherStore(t).Pull(t.Context(), host+"/public/one:v1", PullOptions{Client: client()}); err != nil || got.Digest != img.Digest {
			t.Errorf("as nobody: %v, %v", got, err)
		}
		if _, err := otherStore(t).Pull(t.Context(), host+"/team/two:v1", PullOptions{Client: client()}); !errors.Is(err, ErrNotInRegistry) || !strings.Contains(err.Error(), "cpc login") {
			t.Errorf("as nobody, what is not public: %v", err)
		}
	})
}

// pushWhileTokensRunOut pushes an image of which the layer takes longer than
// its token lasts, and again to where it can be mounted.
func pushWhileTokensRunOut(t modetest.T, s *Store, tokens *tokenServer, host string, client *registry.Client) {
	t.Helper()
	tokens.lasts.Store(int64(2 * time.Second))
	before := tokens.tokens.Load()
	slept := false
	slow := func(e Event) {
		if e.Action == "upload" && e.Total > 1<<20 && !slept {
			slept = true
			time.Sleep(2500 * time.Millisecond)
		}
	}
	if done, err := s.Push(t.Context(), host+"/public/one:v1", PushOptions{Client: client, Progress: slow}); err != nil || len(done.Referrers) != 1 {
		t.Fatalf("pushed %+v, %v", done, err)
	}
	tokens.lasts.Store(int64(time.Hour))
	sent := 0
	_, err := s.Push(t.Context(), host+"/team/two:v1", PushOptions{Client: client, Progress: func(e Event) {
		if e.Action == "pushed" && e.Total > 1<<20 {
			sent++
		}
	}})
	if err != nil || sent != 0 {
		t.Errorf("%d large layers were sent instead of mounted, %v", sent, err)
	}
	if n := tokens.tokens.Load() - before; n < 4 {
		t.Errorf("only %d tokens were asked for", n)
	}
}
