// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/changetest"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// TestInspectIsComplete: whatever was asked of a sandbox, and whatever came of it, is
// shown, or there is a reason why not.
func TestInspectIsComplete(t *testing.T) {
	reasons := map[string]string{
		"Asked.Detach":                  "of the command that started the sandbox, not of the sandbox",
		"Asked.BestEffort":              "its consequences are, the limits that are not enforced",
		"Asked.Options.Disk":            "the disk that came of it has the size that was asked for",
		"Asked.Options.DiskAsked":       "the same",
		"Asked.Options.Binds":           "only the disk's, which are shown with it",
		"Asked.Options.Terminal":        "the caller's own; TERM in Config.Env is what came of it",
		"Asked.Options.Space":           "never asked for: Home and SystemTmpfs are what came of it",
		"Asked.Options.CapBase":         "never asked for: CapAdd and CapDrop are",
		"Asked.Options.CapRoot":         "never asked for: the profile's, which is named",
		"Asked.Options.NoNewPrivileges": "in SecurityOpt, as it was given",
		"Asked.Options.Seccomp":         "in SecurityOpt, as it was given",
		"Asked.Options.AppArmor":        "in SecurityOpt as given, and the profile that the kernel reports",
		"Asked.Options.SELinux":         "in SecurityOpt as given, and the label that the kernel reports",
		"Asked.Options.Limits":          "the limits in force are, which cpc update may have changed",
		"Asked.Network.Policy":          "cpc net shows the policy in force",
		"Asked.Network.Learn":           "of cpc net learn, whose sandbox is its own",
		"Asked.Network.Proxy":           "may hold a password, and is not kept",
		"Asked.Network.Asked":           "words for hints, not kept",
	}
	shown := func(r record.Record) string {
		r.ID = "0123456789abcdef"
		v := OfSandbox(&record.Entry{Record: &r, Dir: t.TempDir(), DataDir: t.TempDir()})
		if v.LogPath != "" {
			v.LogPath = "kept"
		}
		v.Bundle = ""
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before := shown(record.Record{})
	var check func(kind reflect.Type, path string, field func(*record.Record) reflect.Value)
	check = func(kind reflect.Type, path string, field func(*record.Record) reflect.Value) {
		for i := range kind.NumField() {
			f, name := kind.Field(i), path+kind.Field(i).Name
			at := func(r *record.Record) reflect.Value { return field(r).Field(i) }
			switch f.Type {
			case reflect.TypeFor[bundle.Options](), reflect.TypeFor[network.Options](), reflect.TypeFor[network.DNS]():
				check(f.Type, name+".", at)
				continue
			}
			var r record.Record
			changetest.Change(t, at(&r))
			differs, reason := shown(r) != before, reasons[name]
			delete(reasons, name)
			if differs == (reason != "") {
				t.Errorf("cpc inspect shows %s: %v; the reason not to: %q", name, differs, reason)
			}
		}
	}
	check(reflect.TypeFor[record.Asked](), "Asked.", func(r *record.Record) reflect.Value { return reflect.ValueOf(r).Elem().FieldByName("Asked") })
	check(reflect.TypeFor[record.Applied](), "Applied.", func(r *record.Record) reflect.Value { return reflect.ValueOf(r).Elem().FieldByName("Applied") })
	check(reflect.TypeFor[record.Outcome](), "Outcome.", func(r *record.Record) reflect.Value { return reflect.ValueOf(r).Elem().FieldByName("Outcome") })
	if len(reasons) > 0 {
		t.Errorf("no such fields: %v", reasons)
	}
}
