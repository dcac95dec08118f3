// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
)

const (
	configFile = "config.json"
	maxConfig  = 16 << 20 // bytes; seccomp profiles make the largest, some 100 KiB
)

// loadSpec reads config.json of the current directory, the bundle.
func loadSpec() (*specs.Spec, error) {
	var spec specs.Spec
	if err := readJSON(configFile, &spec); err != nil {
		if errors.Is(err, fs.ErrNotExist) { // runc's words, which callers look for
			err = fmt.Errorf("JSON specification file %s not found: %w", configFile, err)
		}
		return nil, err
	}
	if err := checkVersion(spec.Version); err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	if err := checkProcess(spec.Process); err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	if spec.Root == nil || spec.Root.Path == "" {
		return nil, fmt.Errorf("%s: root must be specified, with a path", configFile)
	}
	if spec.Linux == nil {
		return nil, fmt.Errorf("%s: linux: missing", configFile)
	}
	if err := checkSupported(spec.Linux); err != nil {
		return nil, fmt.Errorf("%s: linux.%w", configFile, err)
	}
	return &spec, nil
}

// loadProcess reads only the process of the bundle in the current directory.
// The rest was checked when the container was made.
func loadProcess() (*specs.Process, error) {
	var spec struct {
		Version string         `json:"ociVersion"`
		Process *specs.Process `json:"process"`
	}
	if err := readJSON(configFile, &spec); err != nil {
		return nil, err
	}
	if err := checkVersion(spec.Version); err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	if err := checkProcess(spec.Process); err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	return spec.Process, nil
}

// checkSupported refuses what libcontainer would drop without an error, or what
// the kernel would with one that does not name it.
func checkSupported(l *specs.Linux) error {
	if p := l.Personality; p != nil && len(p.Flags) > 0 {
		return fmt.Errorf("personality.flags %v: not supported", p.Flags)
	}
	if l.MountLabel != "" && !selinux.GetEnabled() {
		return fmt.Errorf("mountLabel %q: SELinux is not enabled", l.MountLabel)
	}
	r := l.Resources
	if r == nil || !cgroups.IsCgroup2UnifiedMode() {
		return nil
	}
	set := func(n *uint64) bool { return n != nil && *n > 0 }
	switch m, c, n := r.Memory, r.CPU, r.Network; {
	case m != nil && m.Swappiness != nil:
		return errors.New("resources.memory.swappiness: not in cgroup v2")
	case m != nil && m.DisableOOMKiller != nil && *m.DisableOOMKiller:
		return errors.New("resources.memory.disableOOMKiller: not in cgroup v2")
	case c != nil && (set(c.RealtimePeriod) || c.RealtimeRuntime != nil && *c.RealtimeRuntime > 0):
		return errors.New("resources.cpu.realtimePeriod, realtimeRuntime: not in cgroup v2")
	case n != nil && (len(n.Priorities) > 0 || n.ClassID != nil && *n.ClassID > 0):
		return errors.New("resources.network: not in cgroup v2")
	}
	return nil
}

// readJSON decodes the one JSON value that a file holds.
func readJSON(path string, v any) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxConfig {
		return fmt.Errorf("read %s: larger than %d bytes", path, maxConfig)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("parse %s: %w", path, err)
	}
	return nil
}

// checkVersion refuses a bundle of a major version other than the one this
// runtime implements: it may ask for what would silently be ignored.
func checkVersion(version string) error {
	number, _, _ := strings.Cut(version, "-")
	parts := strings.Split(number, ".")
	ok := len(parts) == 3
	for _, p := range parts {
		_, err := strconv.ParseUint(p, 10, 16)
		ok = ok && err == nil
	}
	if !ok {
		return fmt.Errorf("ociVersion %q: want MAJOR.MINOR.PATCH", version)
	}
	if parts[0] != strconv.Itoa(specs.VersionMajor) {
		return fmt.Errorf("ociVersion %q: only %d.x.y is supported", version, specs.VersionMajor)
	}
	return nil
}

// checkProcess refuses what could not be run, or only in a surprising place.
func checkProcess(p *specs.Process) error {
	switch {
	case p == nil:
		return errors.New("process property must not be empty")
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("process.cwd %q: must be an absolute path", p.Cwd)
	case len(p.Args) == 0:
		return errors.New("process.args: args must not be empty")
	case p.Args[0] == "": // podman, for an image without a command
		return commandError("", errors.New(`unable to start container process: exec: "": executable file not found in $PATH`))
	case p.SelinuxLabel != "" && !selinux.GetEnabled():
		return fmt.Errorf("process.selinuxLabel %q: SELinux is not enabled", p.SelinuxLabel)
	}
	return nil
}
