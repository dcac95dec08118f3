// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/sandbox/inspect"
	"github.com/claude-pocket-console/cpc/sandbox/record"
)

func TestParseTail(t *testing.T) {
	for s, want := range map[string]int{"all": -1, "": -1, "0": 0, "10": 10, "-1": -1, "-7": -1} {
		if got, err := parseTail(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"ten", "1.5", "99999999999999999999"} {
		if got, err := parseTail(s); err == nil {
			t.Errorf("%q: %d and no error", s, got)
		}
	}
}

func TestParseFilters(t *testing.T) {
	r := &record.Record{
		ID: "abcdef", Name: "cpc-sandbox-7", Status: record.Running,
		Asked: record.Asked{Image: "debian:trixie-slim", ImageDigest: "sha256:1", Labels: map[string]string{"a": "1", "empty": ""}},
	}
	for _, c := range []struct {
		filters string
		want    bool
	}{
		{"", true},
		{"name=sandbox", true},
		{"name=other", false},
		{"id=abc", true},
		{"id=bcd", false},
		{"status=running", true},
		{"status=exited", false},
		{"ancestor=debian:trixie-slim", true},
		{"ancestor=sha256:1", true},
		{"ancestor=debian", false},
		{"label=a", true},
		{"label=a=1", true},
		{"label=a=2", false},
		{"label=b", false},
		{"label=empty=", true},
		{"name=sandbox status=running", true},
		{"name=sandbox status=exited", false},
	} {
		keep, err := parseFilters(strings.Fields(c.filters), filterSources{})
		if err != nil || keep(r) != c.want {
			t.Errorf("%q: %v, want %v", c.filters, err, c.want)
		}
	}
	for _, bad := range []string{"name", "nosuch=x", ""} {
		if _, err := parseFilters([]string{bad}, filterSources{}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestBuildArgs(t *testing.T) {
	t.Setenv("CPC_TEST_ARG", "from env")
	got, err := buildArgs([]string{"A=1", "B=", "C=x=y", "CPC_TEST_ARG", "CPC_TEST_UNSET", "A=2"})
	want := map[string]string{"A": "2", "B": "", "C": "x=y", "CPC_TEST_ARG": "from env"}
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %v, %v; want %v", got, err, want)
	}
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%s is %q, want %q", k, g, v)
		}
	}
	for _, bad := range []string{"", "=x"} {
		if _, err := buildArgs([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestRow(t *testing.T) {
	r := &record.Record{
		ID: strings.Repeat("a", 64), Applied: record.Applied{Command: []string{"sh", "-c", "printf '\x1b[2J' and a long tail of text"}},
		Status: record.Exited, Finished: time.Now(), Asked: record.Asked{Labels: map[string]string{"b": "2", "a": "1"}},
		Outcome: record.Outcome{ExitCode: 137, Reason: "killed: out of memory"},
	}
	short, long := newRow(r, false), newRow(r, true)
	if short.ID != strings.Repeat("a", 12) || long.ID != r.ID {
		t.Errorf("ids %q and %q", short.ID, long.ID)
	}
	if strings.ContainsRune(long.Command, 0x1b) || !strings.Contains(long.Command, `\x1b[2J`) {
		t.Errorf("command %q: the escape is to be seen, not to act", long.Command)
	}
	if n := len([]rune(short.Command)); n > 24 {
		t.Errorf("command %q has %d characters", short.Command, n)
	}
	if short.Labels != "a=1,b=2" {
		t.Errorf("labels %q", short.Labels)
	}
	if !strings.HasPrefix(short.Status, "Exited (137)") || !strings.HasSuffix(short.Status, "out of memory") {
		t.Errorf("status %q", short.Status)
	}
}

// TestTemplateFieldNames: fields go by their names in Go and in JSON.
func TestTemplateFieldNames(t *testing.T) {
	row := inspect.OfSandbox(&record.Entry{Record: &record.Record{ID: "x", PID: 12345678}, Dir: t.TempDir(), DataDir: t.TempDir()})
	for format, want := range map[string]string{
		"{{.ID}}": "x\n", "{{.Id}}": "x\n", "{{.Id}} {{.State.Pid}}": "x 12345678\n", "{{.IDMapping.size}}": "0\n", "{{.Nope}}": "",
	} {
		var b strings.Builder
		err := printRows(&b, listing{format: format}, nil, []any{row})
		if b.String() != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", format, b.String(), err)
		}
	}
}
