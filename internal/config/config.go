// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package config reads cpc's configuration: /etc/cpc/config.toml, which is the
// administrator's, and ~/.config/cpc/config.toml, which is the user's.
//
// It is data only. What a key means, and which file goes before which, is
// decided where it is used; a new section is a field of [File] and a check in
// its package. Keys are strict: one that is not known is an error, because a
// misspelt rule that is left out is a rule that does not hold.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"
	units "github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/notation"
)

// SystemPath is the administrator's file.
const SystemPath = "/etc/cpc/config.toml"

// Config is both files. One that does not exist is the zero value.
type Config struct{ System, User File }

// File is one configuration file.
type File struct {
	// Path is where it was read from; empty when it does not exist.
	Path    string  `toml:"-"`
	Egress  Egress  `toml:"egress"`
	Network Network `toml:"network"`
	Build   Build   `toml:"build"`
	// Registries says how image registries are reached, by host or host:port.
	Registries map[string]Registry `toml:"registries"`
	// Profile is the profile of sandboxes for which none is named.
	Profile string `toml:"profile"`
	// Profiles are further ones, by name; package profile knows what they can say.
	Profiles map[string]Profile `toml:"profiles"`
	// Minimum is the profile that no sandbox may be weaker than. Only the
	// administrator's file has it.
	Minimum string `toml:"minimum"`
}

// Profile is a set of defaults of cpc run, by the names of its flags.
type Profile map[string]any

// Registry says how an image registry is reached.
type Registry struct {
	// Mirrors are asked first, in this order: host[:port][/path].
	Mirrors []string `toml:"mirrors"`
	// Insecure: plain HTTP, or a certificate that cannot be verified, will do.
	Insecure bool `toml:"insecure"`
	// CA is a file of certificates, further ones that may sign the host's.
	CA string `toml:"ca"`
	// Cert and Key are files of a certificate to show to the host.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// Egress is what sandboxes may reach: rules as `cpc run --egress` has them.
type Egress struct {
	// Allow is nil when the file does not say; an empty list allows nothing.
	Allow []string `toml:"allow"`
	Deny  []string `toml:"deny"`
	// Limit: what comes from less privileged places can narrow these rules
	// only.
	Limit bool `toml:"limit"`
	// ImageLabel says what to make of an image's io.cpc.egress label: "narrow"
	// (the default) or "ignore".
	ImageLabel string `toml:"image-label"`
}

// Build is what is different for RUN steps.
type Build struct {
	Egress Rules `toml:"egress"`
	// CacheSize bounds the build cache; nil is the default, a tenth of the disk.
	CacheSize *CacheSize `toml:"cache-size"`
}

// CacheSize is the value of build.cache-size: a size ("20GB"), a share of the disk
// ("15%"), or "unlimited", for which both are 0.
type CacheSize struct {
	Bytes   int64
	Percent int
}

// UnmarshalTOML implements toml.Unmarshaler.
func (c *CacheSize) UnmarshalTOML(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New(`cache-size: a size such as "20GB", a share of the disk such as "15%", or "unlimited"`)
	}
	if text == "unlimited" {
		return nil
	}
	var err error
	if share, isShare := strings.CutSuffix(text, "%"); isShare {
		c.Percent, err = strconv.Atoi(share)
		ok = c.Percent >= 1 && c.Percent <= 100
	} else {
		c.Bytes, err = units.FromHumanSize(text)
		ok = c.Bytes > 0
	}
	if err != nil || !ok {
		return fmt.Errorf(`cache-size %q: a size such as "20GB", a share of the disk from "1%%" to "100%%", or "unlimited"`, text)
	}
	return nil
}

// Of is the bound in bytes on a disk of that size, and 0 for none.
func (c *CacheSize) Of(disk int64) int64 {
	const share = 10 // percent, if nothing is said
	switch {
	case c == nil:
		return disk / 100 * share
	case c.Percent > 0:
		return disk / 100 * int64(c.Percent)
	}
	return c.Bytes
}

// Rules are those of a build: Allow, if not nil, takes the place of Egress's in the
// same file, Deny adds to it, and Egress.Limit is about these rules too.
type Rules struct {
	Allow []string `toml:"allow"`
	Deny  []string `toml:"deny"`
}

// Values of Egress.ImageLabel.
const (
	LabelNarrow = "narrow"
	LabelIgnore = "ignore"
)

// Network has defaults of flags. What is nil or empty is not said.
type Network struct {
	HostCA    *CA      `toml:"host-ca"`
	Proxy     *bool    `toml:"proxy"`
	DNSSearch []string `toml:"dns-search"`
}

// CA is the value of host-ca: true, false, or the path of a bundle.
type CA struct {
	On   bool
	Path string // "": where the host has its bundle
}

// UnmarshalTOML implements toml.Unmarshaler.
func (c *CA) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case bool:
		c.On = v
	case string:
		if !filepath.IsAbs(v) {
			return fmt.Errorf("host-ca %q: true, false, or the absolute path of a file", v)
		}
		c.On, c.Path = true, v
	default:
		return errors.New("host-ca: true, false, or the path of a file")
	}
	return nil
}

// Load reads both files.
func Load() (Config, error) {
	user, err := userPath(os.Getenv)
	if err != nil {
		return Config{}, err
	}
	return load(SystemPath, user)
}

func load(system, user string) (c Config, err error) {
	if c.System, err = readFile(system); err != nil {
		return Config{}, err
	}
	if c.User, err = readFile(user); err == nil && c.User.Minimum != "" {
		return Config{}, fmt.Errorf("configuration %s: minimum is for the administrator's %s", user, SystemPath)
	}
	return c, err
}

// userPath returns "" where there is no home to have a file in.
func userPath(env func(string) string) (string, error) {
	dir := env("XDG_CONFIG_HOME")
	if dir == "" {
		if env("HOME") == "" {
			return "", nil
		}
		dir = filepath.Join(env("HOME"), ".config")
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("configuration directory %s: XDG_CONFIG_HOME and HOME must be absolute", dir)
	}
	return filepath.Join(dir, "cpc", "config.toml"), nil
}

const maxFile = 1 << 20

func readFile(path string) (File, error) {
	if path == "" {
		return File{}, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not hold up each command
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && !exists(path) {
		return File{}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() && info.Mode()&fs.ModeCharDevice == 0 {
		return File{}, errors.Join(err, fmt.Errorf("configuration %s: not a regular file", path))
	}
	if err := trusted(info); err != nil {
		return File{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("configuration: %w", err)
	}
	if len(raw) > maxFile {
		return File{}, fmt.Errorf("configuration %s: larger than %d bytes", path, maxFile)
	}
	out, err := Parse(string(raw))
	if err != nil {
		return File{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	out.Path = path
	return out, nil
}

// unmapped is whose file it seems to be, in a user namespace that its owner is not in.
const unmapped = 65534

// trusted returns an error if a file belongs to somebody other than this user and
// root: it says what sandboxes may reach. It may be reached by a symbolic link.
func trusted(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if uid := os.Geteuid(); !ok || st.Uid != 0 && st.Uid != unmapped && int(st.Uid) != uid {
		return fmt.Errorf("it belongs to uid %d, not to uid %d or root", st.Uid, uid)
	}
	return nil
}

// exists tells a file that may not be read, which is an error, from one below
// a directory that may not be entered, such as another user's home after su.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Parse reads the text of a file strictly.
func Parse(text string) (File, error) {
	var f File
	meta, err := toml.Decode(text, &f)
	if err != nil {
		return File{}, notation.TOML(err)
	}
	var keys []string
	for _, k := range meta.Undecoded() {
		if k[0] != "profiles" { // where a table in a table counts as such, though it is read
			keys = append(keys, k.String())
		}
	}
	if len(keys) > 0 {
		return File{}, fmt.Errorf("unknown key %s", strings.Join(keys, ", "))
	}
	switch f.Egress.ImageLabel {
	case "", LabelNarrow, LabelIgnore:
	default:
		return File{}, fmt.Errorf("egress.image-label %q: %s or %s", f.Egress.ImageLabel, LabelNarrow, LabelIgnore)
	}
	return f, nil
}
