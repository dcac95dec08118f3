// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
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
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/notation"
	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Keychain finds credentials where docker and podman keep them: in the file that
// REGISTRY_AUTH_FILE names, in docker's configuration and the credential helpers
// that it names, and in podman's two files. The first place that has some for a
// registry is taken. A place that cannot be read, or a helper that does not work,
// is told of and passed over: public images need no credentials.
//
// Each file is read once, so that all questions of a command are answered from the
// same state of it, and it can be a pipe. Helpers are asked each time: they give tokens that end.
type Keychain struct {
	tell  func(string)
	mu    sync.Mutex // guards the fields below
	told  map[string]bool
	files map[string]authFile // by path
}

// authFile is what was read of one.
type authFile struct {
	content *configfile.ConfigFile // nil if there is no such file, or it cannot be read
	err     error
}

// NewKeychain makes a keychain. Tell, if not nil, is told once of each place that
// is passed over.
func NewKeychain(tell func(string)) *Keychain {
	return &Keychain{tell: tell, told: make(map[string]bool), files: make(map[string]authFile)}
}

// Resolve implements authn.Keychain.
func (k *Keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for _, path := range authFiles() {
		file := k.file(path)
		if file.err != nil {
			k.passOver(fmt.Sprintf("no credentials are read from %s: %v", path, file.err))
		}
		if file.content == nil {
			continue
		}
		if auth, ok := k.lookUp(file.content, r); ok {
			return authn.FromConfig(authn.AuthConfig{
				Username: auth.Username, Password: auth.Password, Auth: auth.Auth,
				IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
			}), nil
		}
	}
	return authn.Anonymous, nil
}

// dockerDir is the directory of docker's configuration, "" without one. (docker's own
// function looks at the environment once in a process.)
func dockerDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker")
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
	under(dockerDir(), dockerconfig.ConfigFileName)
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

// file returns what there is under path, which is read the first time.
func (k *Keychain) file(path string) authFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, ok := k.files[path]
	if !ok {
		f = readAuthFile(path)
		k.files[path] = f
	}
	return f
}

// maxAuthFile bounds a file of credentials.
const maxAuthFile = 4 << 20

func readAuthFile(path string) authFile {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO that nobody writes to is empty
	if err != nil {
		if _, hidden := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || hidden != nil {
			return authFile{}
		}
		return authFile{err: err}
	}
	defer f.Close()
	content, err := dockerconfig.LoadFromReader(io.LimitReader(f, maxAuthFile))
	if err != nil {
		return authFile{err: wrongAuthFile(err)}
	}
	return authFile{content: content}
}

// wrongAuthFile says what is wrong with the content of a file, but not what the content is.
func wrongAuthFile(err error) error {
	if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return fmt.Errorf(`an entry's "auth" is not USER:PASSWORD in base64: wrong at byte %d of it`, int64(at))
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if strings.HasSuffix(err.Error(), "invalid auth configuration file") {
		return errors.New(`an entry's "auth" is not USER:PASSWORD in base64: it has no colon`)
	}
	return notation.JSON(err)
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
		k.passOver(fmt.Sprintf("the credential helper for %s failed; cpc continues without it: %s", hostName(registryOf(r)), said))
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
