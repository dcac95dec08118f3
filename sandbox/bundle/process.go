// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/claude-pocket-console/cpc/internal/idmap"
)

func (in *Input) process() (*specs.Process, error) {
	args, err := in.args()
	if err != nil {
		return nil, err
	}
	cwd, err := in.cwd()
	if err != nil {
		return nil, err
	}
	caps, err := in.capabilities()
	if err != nil {
		return nil, err
	}
	user, err := in.user()
	if err != nil {
		return nil, err
	}
	rlimits, err := in.rlimits()
	if err != nil {
		return nil, err
	}
	env, err := in.env()
	if err != nil {
		return nil, err
	}
	adjust, err := in.oomScoreAdj()
	if err != nil {
		return nil, err
	}
	return &specs.Process{
		Terminal:        in.TTY,
		User:            user,
		Args:            args,
		Env:             env,
		Cwd:             cwd,
		Capabilities:    caps,
		Rlimits:         rlimits,
		NoNewPrivileges: in.NoNewPrivileges,
		ApparmorProfile: in.Confine.AppArmor,
		SelinuxLabel:    in.Confine.Label,
		OOMScoreAdj:     &adjust,
	}, nil
}

// args follows docker: a given entrypoint takes the image's command with it, a
// given command replaces only the image's command.
func (in *Input) args() ([]string, error) {
	entrypoint, cmd := in.Image.Entrypoint, in.Image.Cmd
	if in.Entrypoint != nil {
		entrypoint, cmd = nil, nil
		if *in.Entrypoint != "" {
			entrypoint = []string{*in.Entrypoint}
		}
	}
	if len(in.Args) > 0 {
		cmd = in.Args
	}
	args := slices.Concat(entrypoint, cmd)
	if len(args) == 0 {
		return nil, errors.New("no command: the image names none, so it must be given after the image")
	}
	if args[0] == "" {
		return nil, errors.New("the command's name is empty")
	}
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return nil, fmt.Errorf("argument %q: holds a NUL", a)
		}
	}
	if in.Options.Init {
		args = slices.Concat([]string{InitPath}, in.Init.Args, []string{"--"}, args)
	}
	return args, nil
}

func (in *Input) cwd() (string, error) {
	cwd := in.Workdir
	if cwd == "" {
		cwd = in.Image.WorkingDir
	}
	if cwd == "" {
		return "/", nil
	}
	if !path.IsAbs(cwd) || strings.ContainsRune(cwd, 0) {
		return "", fmt.Errorf("working directory %q: must be an absolute path", cwd)
	}
	return path.Clean(cwd), nil
}

// asUser reports whether the process is meant to be an ordinary user.
func (in *Input) asUser() bool { return in.User.UID != 0 }

// capabilities: the set is bounding, permitted and effective; inheritable and
// ambient stay empty (ambient would survive exec in an ordinary user, as no
// docker user expects; inheritable was CVE-2022-24769).
//
// For a user other than root the kernel clears permitted and effective at exec,
// so the set is only what a set-uid-root program or file capability could
// reach, and with no-new-privileges nothing can. That is docker's behaviour.
//
// In Single mode such a user runs as the sandbox's uid 0, to whom exec would
// give the bounding set: so it gets none at all. With one id there is nothing
// to chown or setuid to anyway.
func (in *Input) capabilities() (*specs.LinuxCapabilities, error) {
	o := in.Options
	if !in.asUser() && !in.ReadOnly {
		o.CapBase = slices.Concat(o.CapBase, o.CapRoot)
	}
	caps, err := o.Capabilities()
	if err != nil {
		return nil, err
	}
	if in.Mapping.Mode == idmap.Single && in.asUser() {
		caps = nil
	}
	return &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}, nil
}

// user returns the ids. The primary group is among the additional ones too, so
// that a file that denies its group cannot be had by dropping the primary one
// (CVE-2022-36109). In Single mode there is only id 0, and setgroups is denied.
func (in *Input) user() (specs.User, error) {
	if in.Mapping.Mode == idmap.Single {
		if len(in.GroupAdd) > 0 {
			return specs.User{}, errors.New("further groups (--group-add): the sandbox has one user and group id only")
		}
		return specs.User{}, nil
	}
	u := specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: []uint32{in.User.GID}}
	for _, g := range in.User.Groups {
		if !slices.Contains(u.AdditionalGids, g) {
			u.AdditionalGids = append(u.AdditionalGids, g)
		}
	}
	for _, id := range append([]uint32{u.UID}, u.AdditionalGids...) {
		if id >= in.Mapping.Size {
			return specs.User{}, fmt.Errorf("user or group id %d: the sandbox has the ids 0 to %d", id, in.Mapping.Size-1)
		}
	}
	return u, nil
}

// caVariables are those by which programs are told of a CA bundle.
func caVariables() []string {
	return []string{
		"SSL_CERT_FILE",       // OpenSSL, Go, Ruby, rustls
		"CURL_CA_BUNDLE",      // curl
		"REQUESTS_CA_BUNDLE",  // Python's requests
		"PIP_CERT",            // pip
		"NODE_EXTRA_CA_CERTS", // Node.js, npm
		"DENO_CERT",
		"GIT_SSL_CAINFO",
		"CARGO_HTTP_CAINFO",
		"AWS_CA_BUNDLE",
		"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
		"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
		"HTTPLIB2_CA_CERTS",
		"NIX_SSL_CERT_FILE",
		"PERL_LWP_SSL_CA_FILE",
		"HEX_CACERTS_PATH", // Elixir
	}
}

func (in *Input) caEnv() []string {
	if in.Files.HostCA == "" {
		return nil
	}
	var env []string
	for _, name := range caVariables() {
		env = append(env, name+"="+HostCAPath)
	}
	return env
}

// env: ours, then the image's, then those of the host's CAs, which the caller
// asked for, then the caller's; a later one replaces.
func (in *Input) env() ([]string, error) {
	env := []string{defaultPath, "HOSTNAME=" + in.hostname()}
	if in.TTY {
		env = append(env, in.Terminal.env()...)
	}
	env = append(env, "HOME="+in.home())
	for _, e := range slices.Concat(in.Image.Env, in.caEnv(), in.Env) {
		name, _, has := strings.Cut(e, "=")
		if name == "" || strings.ContainsRune(e, 0) {
			return nil, fmt.Errorf("environment %q: must be NAME=VALUE", e)
		}
		at := slices.IndexFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		switch {
		case at >= 0 && has:
			env[at] = e
		case at >= 0:
			env = slices.Delete(env, at, at+1)
		case has:
			env = append(env, e)
		}
	}
	return env, nil
}
