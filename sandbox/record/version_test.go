// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/changetest"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
)

// TestVersion1 reads a record that cpc 0.1 has written, whose sandbox runs.
func TestVersion1(t *testing.T) {
	raw, err := os.ReadFile("testdata/version1.json")
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t)
	const id = "204ad3d728deb43fd62afa4721ec7cc01995bf80b95a2c4d67d320f2acd8bc6b"
	dir := filepath.Join(s.root(), id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := s.Find("old")
	if err != nil {
		t.Fatal(err)
	}
	r := e.Record
	o, n := r.Asked.Options, r.Asked.Network
	for what, pair := range map[string][2]any{
		"status":     {r.Status, Running},
		"monitor":    {r.MonitorPID, 25574},
		"base":       {r.Mapping.Base, uint32(603979776)},
		"image":      {r.Asked.Image, "debian:trixie-slim"},
		"label":      {r.Asked.Labels["a"], "b"},
		"command":    {r.Command(), []string{"sleep", "100"}},
		"entrypoint": {*o.Entrypoint, "sleep"},
		"env":        {r.Applied.Env[3], "K=V"},
		"user":       {r.Applied.User, "1000:1000"},
		"network":    {o.Network, bundle.NetworkAllowlist},
		"host":       {n.Hosts[0].Name + " " + n.Hosts[0].Addr.String(), "h 192.0.2.1"},
		"search":     {n.DNS.Search, []string{"example.org"}},
		"memory":     {r.Applied.Limits.Memory, int64(2 << 30)},
		"tmpfs":      {o.Tmpfs[2].Path + " " + o.Tmpfs[2].Options(), "/x rw,noexec,nosuid,nodev,size=1048576"},
		"tmpfses":    {len(o.Tmpfs), 3},
		"stop":       {r.Asked.StopTimeout, 7},
		"signal":     {o.StopSignal, "INT"},
		"disk":       {r.Applied.Disk.Tier, "loop"},
		"ulimit":     {o.Ulimits[0].Hard, uint64(64)},
		"runtime":    {r.Asked.Runtime, "/usr/local/bin/cpc-runtime"},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	// What is written from now on is of this version, and says the same.
	if err := e.Save(); err != nil {
		t.Fatal(err)
	}
	again, err := s.Find("old")
	if err != nil || !reflect.DeepEqual(again.Record, r) {
		t.Errorf("%+v\nwant %+v, %v", again.Record, r, err)
	}
}

// TestRecordKeepsAll: what was asked is on disk, but for what must not be.
func TestRecordKeepsAll(t *testing.T) {
	not := map[string]string{"Proxy": "may hold a password", "Asked": "words for hints"}
	check := func(kind reflect.Type, field func(*Record) reflect.Value) {
		for i := range kind.NumField() {
			r := Record{ID: id("a")}
			changetest.Change(t, field(&r).Field(i))
			e := newSet(t).Entry(&r)
			if err := os.MkdirAll(e.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := e.Save(); err != nil {
				t.Fatal(err)
			}
			got, err := read(e.Dir)
			if err != nil {
				t.Fatal(err)
			}
			kept, name := reflect.DeepEqual(field(got).Field(i).Interface(), field(&r).Field(i).Interface()), kind.Field(i).Name
			if kept == (not[name] != "" && kind == reflect.TypeFor[network.Options]()) {
				t.Errorf("%s.%s: kept %v", kind, name, kept)
			}
		}
	}
	check(reflect.TypeFor[Asked](), func(r *Record) reflect.Value { return reflect.ValueOf(&r.Asked).Elem() })
	check(reflect.TypeFor[bundle.Options](), func(r *Record) reflect.Value { return reflect.ValueOf(&r.Asked.Options).Elem() })
	check(reflect.TypeFor[network.Options](), func(r *Record) reflect.Value { return reflect.ValueOf(&r.Asked.Network).Elem() })
	check(reflect.TypeFor[Applied](), func(r *Record) reflect.Value { return reflect.ValueOf(&r.Applied).Elem() })
}
