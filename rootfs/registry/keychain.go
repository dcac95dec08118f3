// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Keychain finds credentials where docker and podman keep them: in the file that
// REGISTRY_AUTH_FILE names, in docker's configuration and the credential helpers
// that it names, and in podman's two files. The first place that has some for a
// registry is taken. A place that cannot be read, or a helper that does not work,
// is told of and passed over: public images need no credentials.
type Keychain struct {
	tell func(string)
	mu   sync.Mutex // guards told
	told map[string]bool
}

// NewKeychain makes a keychain. Tell, if not nil, is told once of each place that
// is passed over.
func NewKeychain(tell func(string)) *Keychain {
	return &Keychain{tell: tell, told: make(map[string]bool)}
}

// Resolve implements authn.Keychain.
func (k *Keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for _, path := range authFiles() {
		cf, err := readAuthFile(path)
		if _, hidden := os.Stat(path); errors.Is(err, fs.ErrNotExist) || hidden != nil {
			continue
		}
		if err != nil {
			k.passOver(fmt.Sprintf("no credentials are read from %s: %v", path, err))
			continue
		}
		if auth, ok := k.lookUp(cf, r); ok {
			return authn.FromConfig(authn.AuthConfig{
				Username: auth.Username, Password: auth.Password, Auth: auth.Auth,
				IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
			}), nil
		}
	}
	return authn.Anonymous, nil
}

// authFiles are the files that may have credentials, in order.
func authFiles() []string {
	var all []string
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		all = append(all, file)
	}
	home, _ := os.UserHomeDir() // without a home there is no file in it
	under := func(dir string, path ...string) {
		if dir != "" {
			all = append(all, filepath.Join(append([]string{dir}, path...)...))
		}
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		under(dir, dockerconfig.ConfigFileName)
	} else {
		under(home, ".docker", dockerconfig.ConfigFileName)
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		under(dir, "containers/auth.json")
	} else {
		under(fmt.Sprintf("/run/containers/%d", os.Getuid()), "auth.json")
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		under(dir, "containers/auth.json")
	} else {
		under(home, ".config/containers/auth.json")
	}
	return all
}

func readAuthFile(path string) (*configfile.ConfigFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return dockerconfig.LoadFromReader(f)
}

// lookUp finds the credentials for a repository in one file, or by its helpers.
// An entry for a part of a registry, as podman makes them, comes before that for
// the whole.
func (k *Keychain) lookUp(cf *configfile.ConfigFile, r authn.Resource) (types.AuthConfig, bool) {
	host, key := r.RegistryStr(), r.RegistryStr()
	for path := r.String(); strings.HasPrefix(path, host+"/"); path = path[:strings.LastIndexByte(path, '/')] {
		if auth, ok := entry(cf.AuthConfigs, path); ok {
			return auth, true
		}
	}
	if host == name.DefaultRegistry {
		key = authn.DefaultAuthKey
	}
	auth, err := cf.GetAuthConfig(key)
	if err != nil {
		said, _, _ := strings.Cut(err.Error(), ", out:") // what a helper prints may be a secret
		k.passOver(fmt.Sprintf("the credential helper for %s does not work, so that cpc goes on without it: %s", hostName(registryOf(r)), said))
	} else if has(auth) {
		return auth, true
	}
	return entry(cf.AuthConfigs, host)
}

// registryOf is the registry of what credentials are wanted for.
func registryOf(r authn.Resource) name.Registry {
	reg, err := name.NewRegistry(r.RegistryStr())
	if err != nil {
		return name.Registry{}
	}
	return reg
}

// entry finds what a file has under host[/path], or under another name of
// docker's registry.
func entry(entries map[string]types.AuthConfig, path string) (types.AuthConfig, bool) {
	for _, key := range []string{path, "https://" + path, strings.Replace(path, name.DefaultRegistry, dockerHub, 1)} {
		if auth := entries[key]; has(auth) {
			return auth, true
		}
	}
	return types.AuthConfig{}, false
}

// has reports whether an entry says who one is. Where a helper keeps the
// credentials, docker leaves an empty one.
func has(a types.AuthConfig) bool {
	a.ServerAddress = ""
	return a != types.AuthConfig{}
}

func (k *Keychain) passOver(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tell != nil && !k.told[what] {
		k.told[what] = true
		k.tell(visible.Line(what))
	}
}
