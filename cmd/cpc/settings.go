// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/claude-pocket-console/cpc/internal/config"
	"github.com/claude-pocket-console/cpc/rootfs/registry"
)

// settings are what a command line finds in files that nobody named: config.toml, and
// those with credentials. They decide what a sandbox may reach, which registry an image comes from, and
// as whom; each is read once, and what was read holds for the whole command, in the copy
// of cpc in U0, too. So two parts of a command cannot see two states of a file.
type settings struct {
	mu     sync.Mutex // guards the fields
	config *config.Config
	keys   *registry.Keychain
	certs  *registry.Certificates // each process of a command reads them once
}

// configuration returns what config.toml says.
func (a *app) configuration() (config.Config, error) {
	if a.inside != nil && a.inside.Config != nil {
		return *a.inside.Config, nil
	}
	s := &a.settings
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config == nil {
		read, err := config.Load()
		if err != nil {
			return config.Config{}, err
		}
		s.config = &read
	}
	return *s.config, nil
}

// configurationRead returns what configuration has read so far; nil is nothing.
func (a *app) configurationRead() *config.Config {
	a.settings.mu.Lock()
	defer a.settings.mu.Unlock()
	return a.settings.config
}

// certificates are those of the administrator and of the user for registries.
func (a *app) certificates() *registry.Certificates {
	a.settings.mu.Lock()
	defer a.settings.mu.Unlock()
	if a.settings.certs == nil {
		dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
		if dir, err := os.UserConfigDir(); err == nil {
			dirs = append(dirs, filepath.Join(dir, "containers/certs.d"))
		}
		a.settings.certs = registry.NewCertificates(dirs...)
	}
	return a.settings.certs
}

// keychain finds the user's credentials. The first caller says whom to tell of
// what is passed over.
func (a *app) keychain(tell func(string)) *registry.Keychain {
	a.settings.mu.Lock()
	defer a.settings.mu.Unlock()
	if a.settings.keys == nil {
		a.settings.keys = registry.NewKeychain(tell)
	}
	return a.settings.keys
}
