// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/claude-pocket-console/cpc/internal/golden"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// testBases are the images that the Dockerfiles of testdata/plan start from.
func testBase(name string) rootfs.Config {
	c := ScratchConfig(HostPlatform())
	c.Config.Env = append(c.Config.Env, "FOO=base")
	c.Config.Cmd = []string{"bash"}
	c.Config.Labels = map[string]string{"from": "base"}
	if name == "onbuild" {
		c.Docker.OnBuild = []string{"RUN first", "LABEL trigger=$FOO"}
	}
	return c
}

// TestPlan compares what each Dockerfile of testdata/plan is understood as with
// what its file says; -update writes the files.
func TestPlan(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden.Want(t, file, ar, describe(golden.Section(ar, "Dockerfile"), golden.Section(ar, "flags")))
		})
	}
}

// describe plans a Dockerfile and writes down the result.
func describe(dockerfile, flags string) string {
	args, target := map[string]string{}, ""
	for line := range strings.Lines(flags) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case "target":
			target = rest
		case "arg":
			name, value, _ := strings.Cut(rest, "=")
			args[name] = value
		}
	}
	d, err := Parse("Dockerfile", []byte(dockerfile), "")
	if err != nil {
		return "error: " + err.Error()
	}
	p, err := NewPlan(d, PlanOptions{Args: args, Target: target})
	if err != nil {
		return "error: " + err.Error()
	}
	var b strings.Builder
	for _, w := range p.Warnings {
		b.WriteString("warning: " + w + "\n")
	}
	_ = p.Check(func(i int) (rootfs.Config, bool) {
		if p.Bases[i].Kind == FromScratch {
			return ScratchConfig(HostPlatform()), true
		}
		return testBase(p.Bases[i].Image), p.Bases[i].Image != "unknown"
	}, func(src string) bool { return src == "ignored" })
	for _, f := range d.Findings {
		b.WriteString("check: " + f.String() + "\n")
	}
	if err := describeStages(&b, p); err != nil {
		fmt.Fprintf(&b, "error: %v", err)
	}
	// The plan is the same on every machine but for its name.
	return strings.ReplaceAll(b.String(), goruntime.GOARCH, "ARCH")
}

func describeStages(b *strings.Builder, p *Plan) error {
	stages := map[int]*StagePlan{}
	for _, i := range p.Order {
		base := p.Bases[i]
		var config rootfs.Config
		var parent *StagePlan
		switch base.Kind {
		case FromStage:
			parent = stages[base.Stage]
			config = parent.Config
			fmt.Fprintf(b, "stage %d from stage %d\n", i, base.Stage)
		case FromScratch:
			config = ScratchConfig(HostPlatform())
			fmt.Fprintf(b, "stage %d from scratch\n", i)
		default:
			config = testBase(base.Image)
			fmt.Fprintf(b, "stage %d from image %s\n", i, base.Image)
		}
		s, found, err := p.Stage(i, config, parent)
		for _, f := range found {
			b.WriteString("check, later: " + f.String() + "\n")
		}
		if err != nil {
			return err
		}
		stages[i] = s
		for _, o := range s.Ops {
			describeOp(b, o)
		}
	}
	config := stages[p.Target].Config
	data, err := json.MarshalIndent(map[string]any{
		"config": config.Config, "docker": config.Docker, "author": config.Author,
	}, "", "  ")
	b.Write(data)
	return err
}

func describeOp(b *strings.Builder, o *Op) {
	fmt.Fprintf(b, "%d: %s\n", o.Line, o.CreatedBy)
	if o.Action == nil {
		return
	}
	data, err := json.Marshal(o.Action)
	if err != nil {
		data = []byte(err.Error())
	}
	fmt.Fprintf(b, "   %s\n", data)
}

// FuzzPlan: no Dockerfile makes planning panic, hang or grow without bound.
func FuzzPlan(f *testing.F) {
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(golden.Section(ar, "Dockerfile")))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		out := describe(string(data), "arg V=given\narg HTTP_PROXY=x")
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if len(out) > 256<<20 {
			t.Errorf("the plan is %d bytes large", len(out))
		}
		if strings.HasPrefix(out, "error:") && strings.ContainsAny(out, "\x1b\x07\u202e") {
			t.Errorf("control characters in the message %q", out)
		}
	})
}
