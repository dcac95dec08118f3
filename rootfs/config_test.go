// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/rootfs/store"
)

const dockerConfigJSON = `{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":["sh"],
"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000,"Retries":3},"Shell":["/bin/bash","-c"],
"OnBuild":["RUN x"],"ArgsEscaped":true,"MacAddress":"","Future":{"a":[1,2]}},
"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x","empty_layer":true}]}`

func TestConfigRoundTrip(t *testing.T) {
	var c Config
	if err := json.Unmarshal([]byte(dockerConfigJSON), &c); err != nil {
		t.Fatal(err)
	}
	h := c.Docker.Healthcheck
	if h == nil || h.Interval != 30*time.Second || h.Retries != 3 || len(c.Docker.Shell) != 2 || len(c.Docker.OnBuild) != 1 {
		t.Errorf("docker's fields: %+v", c.Docker)
	}
	if c.Config.Env[0] != "A=b" || string(c.Docker.Other["Future"]) != `{"a":[1,2]}` {
		t.Errorf("got %+v", c)
	}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal([]byte(dockerConfigJSON), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestParseReference(t *testing.T) {
	for in, want := range map[string]string{
		"debian:trixie-slim":                 "docker.io/library/debian:trixie-slim",
		"debian":                             "docker.io/library/debian:latest",
		"claude-pocket-console/sandbox":      "docker.io/claude-pocket-console/sandbox:latest",
		"localhost:5000/a/b:c":               "localhost:5000/a/b:c",
		"ghcr.io/x/y":                        "ghcr.io/x/y:latest",
		"docker.io/library/debian:trixie":    "docker.io/library/debian:trixie",
		"x@" + emptyDigest:                   "docker.io/library/x@" + emptyDigest,
		"index.docker.io/library/debian:foo": "docker.io/library/debian:foo",
	} {
		if got, err := ParseReference(in); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
	if got := Familiar("docker.io/library/debian:trixie-slim"); got != "debian:trixie-slim" {
		t.Errorf("familiar: %s", got)
	}
}

const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"debian", "a/b:c", "h:1/x@" + emptyDigest, "../..", "A", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseReference(s)
		if err != nil {
			return
		}
		if again, err := ParseReference(name); err != nil || again != name {
			t.Errorf("%q is %q, which is %q: %v", s, name, again, err)
		}
		if repo, d := splitDigest(name); d == "" && repo != "" || repoOf(name) == "" || Familiar(name) == "" {
			t.Errorf("%q: repository %q %q, digest %q, familiar %q", name, repo, repoOf(name), d, Familiar(name))
		}
	})
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{dockerConfigJSON, `{}`, `{"config":null}`, `{"config":{"Env":[null]},"rootfs":{"diff_ids":["x"]}}`, `[]`} {
		f.Add([]byte(s), 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, layers int) {
		c, err := store.ParseConfig(data, layers)
		if err != nil {
			return
		}
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := store.ParseConfig(out, layers)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(out) {
			t.Errorf("first %s\nthen  %s: %v", out, twice, err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"` + emptyDigest + `","size":0},"layers":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"layers":[{"digest":"sha256:..","size":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := store.ParseManifest(data)
		if err != nil {
			return
		}
		for _, l := range m.Layers {
			if len(l.Digest.Encoded()) != 64 || l.Size < 0 {
				t.Errorf("layer %+v was let through", l)
			}
		}
	})
}
