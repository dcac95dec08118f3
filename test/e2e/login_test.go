// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	loginUser = "tester"
	// loginPassword has what breaks where it is put into a URL or a shell.
	loginPassword = `p:ä$ "w%2F`
)

// guardedRegistry serves an image to one user only.
func guardedRegistry(t *testing.T) (host string) {
	t.Helper()
	handler := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != loginUser || password != loginPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host + "/private/image:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image, remote.WithAuth(&authn.Basic{Username: loginUser, Password: loginPassword})); err != nil {
		t.Fatal(err)
	}
	return host
}

// credentialHelper is a helper as docker has them, which keeps one secret in a
// file of the caller's.
const credentialHelper = `#!/bin/sh
file=$HELPER_DIR/secret
case $1 in
store) cat >"$file" ;;
get) read -r host; grep -qF "$host" "$file" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; }; cat "$file" ;;
erase) rm -f "$file" ;;
list) echo '{}' ;;
esac
`

// TestLogin logs in and out the ways that docker has: with the password in the
// configuration, and with a helper for all registries or for one.
func TestLogin(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		o := newStore(t, w)
		host := guardedRegistry(t)
		helpers := filepath.Join(o.dir, "helpers")
		err := errors.Join(os.MkdirAll(helpers, 0o755), os.WriteFile(helpers+"/docker-credential-cpctest", []byte(credentialHelper), 0o755), //nolint:gosec // a program
			os.Chown(helpers, w.uid, w.gid))
		if err != nil {
			t.Fatal(err)
		}
		for what, config := range map[string]string{
			"":            "",
			"credsStore":  `{"credsStore":"cpctest"}`,
			"credHelpers": `{"credHelpers":{"` + host + `":"cpctest"}}`,
		} {
			l := loginTrial{o, host, helpers, filepath.Join(o.dir, "docker"+what)}
			err := errors.Join(os.Mkdir(l.config, 0o700), os.Chown(l.config, w.uid, w.gid))
			if file := filepath.Join(l.config, "config.json"); err == nil && config != "" {
				err = errors.Join(os.WriteFile(file, []byte(config), 0o600), os.Chown(file, w.uid, w.gid))
			}
			if err != nil {
				t.Fatal(err)
			}
			l.check(t, config != "")
		}
	})
}

type loginTrial struct {
	o                     *ownStore
	host, helpers, config string
}

// run runs cpc with the trial's configuration and helper.
func (l loginTrial) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	cmd := l.o.cpc(args...)
	cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+l.config, "HELPER_DIR="+l.helpers, "PATH="+l.helpers+":/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdin = strings.NewReader(stdin)
	return finish(t, cmd)
}

func (l loginTrial) check(t *testing.T, helper bool) {
	t.Helper()
	want := func(r result, code int, says string) {
		t.Helper()
		if r.code != code || !strings.Contains(r.stdout+r.stderr, says) || strings.Contains(r.stdout+r.stderr, loginPassword) {
			t.Errorf("%s: exit status %d, want %d and %q: %s%s", l.config, r.code, code, says, r.stdout, r.stderr)
		}
	}
	image := l.host + "/private/image:v1"
	want(l.run(t, "", "pull", image), 1, "cpc login")
	want(l.run(t, "wrong\n", "login", "-u", loginUser, "--password-stdin", l.host), 1, "refuses the user name or the password")
	want(l.run(t, "", "pull", image), 1, "cpc login")
	in := l.run(t, loginPassword+"\n", "login", "-u", loginUser, "--password-stdin", l.host)
	want(in, 0, "Login Succeeded")
	if strings.Contains(in.stderr, "unencrypted") == helper {
		t.Errorf("with a helper: %v; it says %s", helper, in.stderr)
	}
	want(l.run(t, "", "pull", image), 0, "sha256:")
	want(l.run(t, "", "push", image), 0, "digest: sha256:")
	config, err := os.ReadFile(filepath.Join(l.config, "config.json"))
	if err != nil || strings.Contains(string(config), `"auth":`) == helper {
		t.Errorf("with a helper: %v; the configuration is %s, %v", helper, config, err)
	}
	want(l.run(t, "", "logout", l.host), 0, "Removing login credentials for "+l.host)
	want(l.run(t, "", "pull", image), 1, "cpc login")
	want(l.run(t, "", "logout", l.host), 0, "Not logged in to "+l.host)
}
