// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/sandbox/record"
)

type row struct{ ID, Name string }

func TestPrintRows(t *testing.T) {
	columns := []column{{"SANDBOX ID", "{{.ID}}"}, {"NAMES", "{{.Name}}"}}
	rows := []row{{"1", "one"}, {"22", "<two>"}}
	for _, c := range []struct {
		name string
		l    listing
		rows []row
		want string
	}{
		{"table", listing{}, rows, "SANDBOX ID   NAMES\n1            one\n22           <two>\n"},
		{"empty table", listing{}, nil, "SANDBOX ID   NAMES\n"},
		{"template", listing{format: "{{.Name}}"}, rows, "one\n<two>\n"},
		{"escapes", listing{format: `{{.ID}}\t{{.Name}}`}, rows, "1\tone\n22\t<two>\n"},
		{"functions", listing{format: "{{json .Name}} {{upper .Name}}"}, rows[:1], "\"one\" ONE\n"},
		{"own table", listing{format: `table {{.Name}}\t{{.ID}}`}, rows, "NAME    ID\none     1\n<two>   22\n"},
		{"just table", listing{format: "table"}, rows[:1], "SANDBOX ID   NAMES\n1            one\n"},
		{"json lines", listing{format: "json"}, rows[:1], "{\"ID\":\"1\",\"Name\":\"one\"}\n"},
		{"no json lines", listing{format: "json"}, nil, ""},
		{"no json", listing{json: true}, nil, "[]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := printRows(&out, c.l, columns, c.rows); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("printed %q, want %q", out.String(), c.want)
			}
		})
	}
	var out bytes.Buffer
	var back []row
	if err := printRows(&out, listing{json: true}, columns, rows); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != 2 || back[1] != rows[1] {
		t.Errorf("--json: %v, %s", err, out.String())
	}
}

func TestPrintRowsErrors(t *testing.T) {
	for _, format := range []string{"{{.ID", "{{nosuch .ID}}", "table {{.ID"} {
		err := printRows(&bytes.Buffer{}, listing{format: format}, nil, []row{{}})
		if _, ok := errors.AsType[usageError](err); !ok {
			t.Errorf("%s: error %v, want a usage error", format, err)
		}
	}
	if err := printRows(&bytes.Buffer{}, listing{format: "{{.Nosuch}}"}, nil, []row{{}}); err == nil {
		t.Error("a field that does not exist was printed")
	}
}

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
		ID: "abcdef", Name: "cpc-sandbox-7", Image: "debian:trixie-slim", ImageDigest: "sha256:1", Status: record.Running,
		Labels: map[string]string{"a": "1", "empty": ""},
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
		keep, err := parseFilters(strings.Fields(c.filters))
		if err != nil || keep(r) != c.want {
			t.Errorf("%q: %v, want %v", c.filters, err, c.want)
		}
	}
	for _, bad := range []string{"name", "nosuch=x", ""} {
		if _, err := parseFilters([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestFamiliarName(t *testing.T) {
	for name, want := range map[string]string{
		"docker.io/library/debian:trixie-slim": "debian:trixie-slim",
		"docker.io/user/app:1":                 "user/app:1",
		"ghcr.io/user/app:1":                   "ghcr.io/user/app:1",
		"localhost:5000/library/x:1":           "localhost:5000/library/x:1",
	} {
		if got := familiarName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
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
		ID: strings.Repeat("a", 64), Command: []string{"sh", "-c", "printf '\x1b[2J' and a long tail of text"},
		Status: record.Exited, Finished: time.Now(), Labels: map[string]string{"b": "2", "a": "1"},
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
	row := inspected{ID: "x", State: inspectedState{Pid: 12345678}}
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
