// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sys/unix"
)

func auths(entries ...string) string {
	var all []string
	for _, e := range entries {
		key, user, _ := strings.Cut(e, "=")
		all = append(all, fmt.Sprintf("%q:{\"auth\":%q}", key, base64.StdEncoding.EncodeToString([]byte(user+":pw"))))
	}
	return `{"auths":{` + strings.Join(all, ",") + `}}`
}

// Credentials are found in the files of docker and of podman, whichever has them,
// and what cannot be read or run is passed over, with a word.
func TestKeychain(t *testing.T) {
	const docker, podmanRun, podmanHome, named = "docker/config.json", "run/containers/auth.json", "config/containers/auth.json", "named.json"
	for what, c := range map[string]struct {
		files            map[string]string
		image, want, say string
	}{
		"nothing":                    {map[string]string{}, "example.com/x", "", ""},
		"docker's":                   {map[string]string{docker: auths("example.com=d")}, "example.com/x", "d", ""},
		"podman's beside docker's":   {map[string]string{docker: `{"auths":{}}`, podmanRun: auths("example.com=p")}, "example.com/x", "p", ""},
		"docker's of another":        {map[string]string{docker: auths("other.com=d"), podmanHome: auths("example.com=h")}, "example.com/x", "h", ""},
		"docker's before podman's":   {map[string]string{docker: auths("example.com=d"), podmanRun: auths("example.com=p")}, "example.com/x", "d", ""},
		"the one that is named":      {map[string]string{docker: auths("example.com=d"), named: auths("example.com=n")}, "example.com/x", "n", ""},
		"a part of a registry":       {map[string]string{podmanRun: auths("example.com=all", "example.com/team=part")}, "example.com/team/x", "part", ""},
		"another part":               {map[string]string{podmanRun: auths("example.com=all", "example.com/team=part")}, "example.com/teams/x", "all", ""},
		"a URL":                      {map[string]string{docker: auths("https://example.com/v1/=d")}, "example.com/x", "d", ""},
		"a port":                     {map[string]string{docker: auths("example.com=d")}, "example.com:5000/x", "", ""},
		"docker's registry":          {map[string]string{docker: auths("https://index.docker.io/v1/=d")}, "debian", "d", ""},
		"docker's registry, podman":  {map[string]string{podmanRun: auths("docker.io=p")}, "debian", "p", ""},
		"an image of it, podman":     {map[string]string{podmanRun: auths("docker.io=p", "docker.io/me=me")}, "me/x", "me", ""},
		"no helper":                  {map[string]string{docker: `{"credsStore":"missing"}`}, "example.com/x", "", "docker-credential-missing"},
		"no helper, podman's":        {map[string]string{docker: `{"credHelpers":{"example.com":"missing"}}`, podmanRun: auths("example.com=p")}, "example.com/x", "p", "docker-credential-missing"},
		"no helper, but an entry":    {map[string]string{docker: `{"credsStore":"missing",` + auths("example.com=d")[1:]}, "example.com/x", "d", "docker-credential-missing"},
		"a helper of another":        {map[string]string{docker: `{"credHelpers":{"other.com":"missing"}}`}, "example.com/x", "", ""},
		"a helper that fails":        {map[string]string{docker: `{"credsStore":"bad"}`}, "example.com/x", "", "exit status 1"},
		"a helper that knows":        {map[string]string{docker: `{"credsStore":"good"}`}, "example.com/x", "helped", ""},
		"an entry not of base64":     {map[string]string{docker: `{"auths":{"example.com":{"auth":"!!"}}}`}, "example.com/x", "", "not USER:PASSWORD in base64"},
		"a file that is not of JSON": {map[string]string{docker: `{"auths":`, podmanRun: auths("example.com=p")}, "example.com/x", "p", "config.json"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			for path, content := range c.files {
				path = filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for helper, does := range map[string]string{"bad": "echo s3cret; exit 1", "good": `echo '{"Username":"helped","Secret":"pw"}'`} {
				if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+helper), []byte("#!/bin/sh\n"+does+"\n"), 0o700); err != nil { //nolint:gosec // to be run
					t.Fatal(err)
				}
			}
			for key, value := range map[string]string{
				"DOCKER_CONFIG": dir + "/docker", "XDG_RUNTIME_DIR": dir + "/run", "XDG_CONFIG_HOME": dir + "/config", "HOME": dir,
				"REGISTRY_AUTH_FILE": dir + "/" + named, "PATH": dir + ":" + os.Getenv("PATH"),
			} {
				t.Setenv(key, value)
			}
			ref, err := name.ParseReference(c.image)
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			keys := NewKeychain(func(line string) { said = append(said, line) })
			for range 2 { // what is wrong is said once
				auth, err := keys.Resolve(ref.Context())
				if err != nil {
					t.Fatal(err)
				}
				got, err := authn.Authorization(t.Context(), auth)
				if err != nil || got.Username != c.want {
					t.Errorf("user %q, want %q, %v", got.Username, c.want, err)
				}
			}
			all := strings.Join(said, "\n")
			if len(said) > 1 || (c.say == "") != (all == "") || !strings.Contains(all, c.say) || strings.Contains(all, "s3cret") {
				t.Errorf("says %q, want %q", said, c.say)
			}
		})
	}
}

// All questions of a command are answered from one state of a file, which may be a pipe.
func TestKeychainReadsOnce(t *testing.T) {
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, err := range []error{
		func() error { _, err := w.WriteString(auths("example.com=piped")); return err }(), w.Close(),
		os.WriteFile(filepath.Join(dir, "config.json"), []byte(auths("other.com=first")), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range map[string]string{
		"DOCKER_CONFIG": dir, "XDG_RUNTIME_DIR": dir, "XDG_CONFIG_HOME": dir, "REGISTRY_AUTH_FILE": fmt.Sprintf("/dev/fd/%d", r.Fd()),
	} {
		t.Setenv(key, value)
	}
	keys := NewKeychain(func(line string) { t.Error("says: " + line) })
	for range 2 {
		for image, want := range map[string]string{"example.com/x": "piped", "other.com/x": "first"} {
			ref, err := name.ParseReference(image)
			if err != nil {
				t.Fatal(err)
			}
			auth, err := keys.Resolve(ref.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := authn.Authorization(t.Context(), auth); err != nil || got.Username != want {
				t.Errorf("%s: user %q, want %q, %v", image, got.Username, want, err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(auths("other.com=second", "example.com=second")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What is wrong with docker's configuration, or with a helper that it names, is said with
// the file's name, and nothing is waited for.
func TestBrokenDockerFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), dockerconfig.ConfigFileName)
	t.Setenv("DOCKER_CONFIG", filepath.Dir(path))
	for content, want := range map[string]string{
		`{"auths":`:                             "not JSON: it ends too early",
		`{"auths":[]}`:                          "auths: must be an object, not a list",
		`{"auths":{"a.example":{"auth":"%%"}}}`: "base64",
		`{"credsStore":"nosuch"}`:               "docker-credential-nosuch, which",
		"FIFO":                                  "not a regular file",
	} {
		_ = os.Remove(path) // there may be none
		err := os.WriteFile(path, []byte(content), 0o600)
		if content == "FIFO" {
			err = errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"login": Store("r.example", Credentials{"me", "pw"}), "logout": func() error { _, err := Erase("r.example"); return err }()} {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "out:") {
				t.Errorf("%s, %s: %v, want %s", what, content, err, want)
			}
		}
	}
}
