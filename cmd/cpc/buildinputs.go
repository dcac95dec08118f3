// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/build"
)

// csvFields reads NAME=VALUE,NAME,… as docker's flags have it. Names are in
// lower case.
func csvFields(value string) ([][2]string, error) {
	r := csv.NewReader(strings.NewReader(value))
	parts, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("%q: %w", value, err)
	}
	out := make([][2]string, 0, len(parts))
	for _, p := range parts {
		k, v, _ := strings.Cut(p, "=")
		out = append(out, [2]string{strings.ToLower(strings.TrimSpace(k)), v})
	}
	return out, nil
}

// secrets reads --secret id=ID[,src=FILE|,env=VARIABLE]. With an id alone it is
// the variable of that name, or else the file.
func secrets(given []string) (out map[string]build.Secret, err error) {
	out = map[string]build.Secret{}
	for _, g := range given {
		s, err := parseSecret(g)
		if err != nil {
			return nil, fmt.Errorf("--secret %s: %w", g, err)
		}
		if s.env != "" {
			value, ok := os.LookupEnv(s.env)
			if !ok {
				return nil, fmt.Errorf("--secret %s: the variable %s is not set", g, s.env)
			}
			out[s.id] = build.SecretValue(value)
			continue
		}
		if out[s.id], err = build.ReadSecret(s.file); err != nil {
			return nil, fmt.Errorf("--secret %s: %w", g, err)
		}
	}
	return out, nil
}

type secretFlag struct{ id, file, env string }

func parseSecret(value string) (s secretFlag, err error) {
	fields, err := csvFields(value)
	if err != nil {
		return s, err
	}
	kind := ""
	for _, f := range fields {
		switch f[0] {
		case "id":
			s.id = f[1]
		case "source", "src":
			s.file = f[1]
		case "env":
			s.env = f[1]
		case "type":
			kind = f[1]
		default:
			return s, fmt.Errorf("%q is not known: must be id, src, env or type", f[0])
		}
	}
	switch {
	case s.id == "":
		return s, errors.New("id is missing")
	case kind != "" && kind != "file" && kind != "env":
		return s, fmt.Errorf("type %q: must be file or env", kind)
	case kind == "env" && s.env == "":
		s.file, s.env = "", firstOf(s.file, s.id)
	case s.file == "" && s.env == "":
		if _, ok := os.LookupEnv(s.id); ok && kind != "file" {
			s.env = s.id
		} else {
			s.file = s.id
		}
	}
	return s, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// pairs reads --label and --annotation. docker lets an annotation say which
// manifest it is for; that of the image is the only one here.
func pairs(flag string, given []string) (map[string]string, error) {
	out := map[string]string{}
	for _, g := range given {
		name, value, ok := strings.Cut(g, "=")
		if flag == "annotation" {
			if !ok {
				return nil, fmt.Errorf("--annotation %q: must be NAME=VALUE", g)
			}
			for _, prefix := range []string{"manifest:", "manifest-descriptor:", "index:", "index-descriptor:"} {
				if rest, has := strings.CutPrefix(name, prefix); has && prefix == "manifest:" {
					name = rest
				} else if has {
					return nil, fmt.Errorf("--annotation %s: only a manifest can be annotated", g)
				}
			}
		}
		if name == "" {
			return nil, fmt.Errorf("--%s %q: must be NAME=VALUE", flag, g)
		}
		out[name] = value
	}
	return out, nil
}

// agents reads --ssh default|ID[=SOCKET|KEY[,KEY]].
func agents(given []string) (out map[string]build.Agent, sockets []string, err error) {
	out = map[string]build.Agent{}
	for _, g := range given {
		id, list, _ := strings.Cut(g, "=")
		paths := slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" })
		if len(paths) == 0 {
			socket := os.Getenv("SSH_AUTH_SOCK")
			if socket == "" {
				return nil, nil, fmt.Errorf("--ssh %s: no agent: SSH_AUTH_SOCK is not set; start one with eval $(ssh-agent), or name a key: --ssh %s=FILE", g, id)
			}
			paths = []string{socket}
		}
		a := build.Agent{}
		for _, p := range paths {
			abs, err := filepath.Abs(p)
			if err != nil {
				return nil, nil, err
			}
			info, err := os.Stat(abs)
			if err != nil {
				return nil, nil, fmt.Errorf("--ssh %s: %w", g, err)
			}
			if info.Mode()&os.ModeSocket == 0 {
				key, err := build.ReadKey(abs)
				if err != nil {
					return nil, nil, fmt.Errorf("--ssh %s: %w", g, err)
				}
				a.Keys = append(a.Keys, key)
				continue
			}
			sockets = append(sockets, abs)
			if len(paths) > 1 {
				return nil, nil, fmt.Errorf("--ssh %s: a socket stands alone", g)
			}
			a.Socket = abs
		}
		out[id] = a
	}
	return out, sockets, nil
}

// stepNetwork reads --network for RUN steps and --allow.
func stepNetwork(network string, allow []string) (string, bool, error) {
	host := false
	for _, a := range allow {
		switch a {
		case "network.host":
			host = true
		case "security.insecure":
			return "", false, errors.New("--allow security.insecure: a step is a sandbox; cpc has no way to take its walls away")
		default:
			return "", false, fmt.Errorf("--allow %q: only network.host is known", a)
		}
	}
	switch network {
	case "", "default", "bridge", "allowlist":
		return "", host, nil
	case "none":
		return network, host, nil
	case "host":
		return network, true, nil
	}
	return "", false, fmt.Errorf("--network %q: choose default (or allowlist), none or host", network)
}
