// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// ErrDenied is the answer to a user that the registry does not know, or to a
// wrong password.
var ErrDenied = hint.New("the registry refuses the user name or the password",
	"Check the user name and the password. Some registries need a token instead of the password; see docs/registry.md.")

// ServerName is the host in what people call a registry: a URL, docker.io, or
// nothing for that.
func ServerName(server string) (string, error) {
	if server == "" {
		return dockerHub, nil
	}
	host := server
	if _, rest, ok := strings.Cut(server, "://"); ok {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	switch host {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		host = dockerHub
	}
	if _, err := name.NewRegistry(host); err != nil || host == "" || strings.ContainsRune(host, '@') {
		return "", fmt.Errorf("registry %q: must be host or host:port", server)
	}
	return host, nil
}

// configKey is under which docker's configuration has a registry.
func configKey(host string) string {
	if host == dockerHub {
		return authn.DefaultAuthKey
	}
	return host
}

// Credentials are a user's at one registry.
type Credentials struct {
	Username, Password string
}

// Verify asks a registry whether it takes the credentials.
func (c *Client) Verify(ctx context.Context, host string, cred Credentials) error {
	var o []name.Option
	if c.insecure(host) {
		o = append(o, name.Insecure)
	}
	reg, err := name.NewRegistry(host, o...)
	if err != nil {
		return err
	}
	t, err := c.transport(reg)
	if err != nil {
		return err
	}
	auth := authn.FromConfig(authn.AuthConfig{Username: cred.Username, Password: cred.Password})
	in, err := transport.NewWithContext(ctx, reg, auth, t, nil)
	if err != nil {
		return denied(err)
	}
	u := url.URL{Scheme: reg.Scheme(), Host: reg.RegistryStr(), Path: "/v2/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: in}).Do(req)
	if err != nil {
		return denied(err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied
	}
	return fmt.Errorf("%s answers %s", host, resp.Status)
}

func denied(err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return ErrDenied
	}
	return err
}

// errNoHome is the lack of a place for logins.
var errNoHome = errors.New("no directory for logins: neither DOCKER_CONFIG nor HOME is set")

// dockerFile reads docker's configuration, which is to be written again.
func dockerFile() (*configfile.ConfigFile, error) {
	dir := dockerDir()
	if dir == "" {
		return nil, errNoHome
	}
	path := filepath.Join(dir, dockerconfig.ConfigFileName)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	cf, err := dockerconfig.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: mend the file, or move it away", path, wrongAuthFile(err))
	}
	return cf, nil
}

// helperFault says what is wrong with a credential helper, without what it prints, which may
// be a secret.
func helperFault(cf *configfile.ConfigFile, err error) error {
	said, _, _ := strings.Cut(err.Error(), ", out:")
	if _, name, ok := strings.Cut(said, `exec: "`); ok {
		name, why, _ := strings.Cut(name, `": `)
		return fmt.Errorf("%s, which %s names, cannot be run: %s: install it, or take it out of that file", name, cf.Filename, why)
	}
	_, reason, _ := strings.Cut(said, "- err: ")
	return fmt.Errorf("the credential helper that %s names does not work: %s", cf.Filename, cmp.Or(reason, said))
}

// Store keeps credentials as docker does: with the credential helper that its
// configuration names, or else in the configuration, not encrypted, of which it
// warns on standard error.
func Store(host string, cred Credentials) error {
	cf, err := dockerFile()
	if err != nil {
		return err
	}
	key := configKey(host)
	err = cf.GetCredentialsStore(key).Store(types.AuthConfig{ServerAddress: key, Username: cred.Username, Password: cred.Password})
	if err != nil {
		return fmt.Errorf("keep credentials: %w", helperFault(cf, err))
	}
	return nil
}

// Erase removes credentials; had reports whether there were any.
func Erase(host string) (had bool, err error) {
	cf, err := dockerFile()
	if err != nil {
		return false, err
	}
	key := configKey(host)
	old, err := cf.GetAuthConfig(key)
	if err != nil {
		return false, fmt.Errorf("credentials for %s: %w", host, helperFault(cf, err))
	}
	if old.Username == "" && old.Password == "" && old.Auth == "" && old.IdentityToken == "" && old.RegistryToken == "" {
		return false, nil
	}
	return true, cf.GetCredentialsStore(key).Erase(key)
}

// Stored returns the user that is logged in to a registry, if there is one.
func Stored(host string) (Credentials, error) {
	cf, err := dockerFile()
	if err != nil {
		return Credentials{}, err
	}
	auth, err := cf.GetAuthConfig(configKey(host))
	return Credentials{Username: auth.Username, Password: auth.Password}, err
}
