// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/cgroups"
	"github.com/claude-pocket-console/cpc/internal/dirs"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// A link in the state directory that leads to a sandbox, or a copy of what is there,
// has the living sandbox's plan in it. Who cleans up after the stray name removes
// neither that sandbox's cgroup, with all that runs in it, nor that of a build step.
func TestPlanOfAnother(t *testing.T) {
	set := record.Set{Dirs: dirs.Dirs{State: t.TempDir(), Data: t.TempDir()}}
	id, stray := strings.Repeat("a", 64), strings.Repeat("b", 64)
	living := set.Entry(&record.Record{ID: id})
	if err := os.MkdirAll(living.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// No cgroup: whoever sets out to remove it says so.
	plan := cgroups.Plan{Path: "/cpc-" + id, Layout: cgroups.Hybrid, Dirs: []string{filepath.Join(t.TempDir(), "cpc-"+id)}}
	if err := os.Mkdir(plan.Dirs[0], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := SavePlan(living, plan); err != nil {
		t.Fatal(err)
	}
	if p, err := LoadPlan(living); err != nil || len(p.Dirs) != 1 {
		t.Fatalf("the sandbox's own: %+v, %v", p, err)
	}
	link := set.Entry(&record.Record{ID: stray})
	if err := os.Symlink(living.Dir, link.Dir); err != nil {
		t.Fatal(err)
	}
	note, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	const acted = "not a cgroup filesystem"
	if err := removeCgroup(link); err != nil {
		t.Errorf("by a link: %v", err)
	}
	if err := (cleaner{}).Step(stray, note); err != nil {
		t.Errorf("by a copied note: %v", err)
	}
	// The control: by its own name, each is removed.
	if err := removeCgroup(living); err == nil || !strings.Contains(err.Error(), acted) {
		t.Errorf("the sandbox itself: %v", err)
	}
	if err := (cleaner{}).Step(id, note); err == nil || !strings.Contains(err.Error(), acted) {
		t.Errorf("the step itself: %v", err)
	}
}
