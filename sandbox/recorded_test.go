// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/changetest"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/sandbox/bundle"
)

// TestOptionsAreRecorded: what a sandbox was asked to be is kept, for inspect, or
// there is a reason why not.
func TestOptionsAreRecorded(t *testing.T) {
	reasons := map[string]string{
		"Disk":            "the monitor records the disk that came of it",
		"DiskAsked":       "the same",
		"Binds":           "only the disk's, which are recorded with it",
		"CapBase":         "never asked for: CapAdd and CapDrop are",
		"NoNewPrivileges": "in SecurityOpt, as it was given",
		"Seccomp":         "in SecurityOpt, as it was given",
		"AppArmor":        "in SecurityOpt as given, and the profile that the kernel reports",
		"SELinux":         "in SecurityOpt as given, and the label that the kernel reports",
	}
	recorded := func(o bundle.Options) string {
		r := (&Engine{}).newRecord("0123456789abcdef", RunRequest{Options: o}, cgroups.Plan{}, idmap.ForMapped())
		data, err := json.Marshal([]any{r.Settings, r.Command})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	kind := reflect.TypeFor[bundle.Options]()
	for i := range kind.NumField() {
		o, name := bundle.Defaults(), kind.Field(i).Name
		before := recorded(o)
		changetest.Change(t, reflect.ValueOf(&o).Elem().Field(i))
		differs, reason := recorded(o) != before, reasons[name]
		delete(reasons, name)
		if differs == (reason != "") {
			t.Errorf("option %s: recorded %v, the reason not to: %q", name, differs, reason)
		}
	}
	if len(reasons) > 0 {
		t.Errorf("no such options: %v", reasons)
	}
}
