// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/claude-pocket-console/cpc/sandbox/record"
)

// TestFilters holds docker's rules of filters that are given several times.
func TestFilters(t *testing.T) {
	r := &record.Record{
		ID: "abcdef", Name: "web-1", Image: "debian", ImageDigest: "sha256:12", Status: record.Running,
		Labels: map[string]string{"a": "1", "b": "2"},
	}
	for _, c := range []struct {
		filters []string
		want    bool
	}{
		{[]string{"name=other", "name=web"}, true},
		{[]string{"name=other", "name=none"}, false},
		{[]string{"name=web", "status=exited"}, false},
		{[]string{"status=exited", "status=running", "name=web"}, true},
		{[]string{"name=^web-[0-9]$"}, true},
		{[]string{"name=^/web-1$"}, true},
		{[]string{"name=^eb"}, false},
		{[]string{"label=a", "label=b=2"}, true},
		{[]string{"label=a", "label=b=3"}, false},
		{[]string{"ancestor=debian:latest"}, true},
		{[]string{"ancestor=docker.io/library/debian"}, true},
		{[]string{"ancestor=sha256:12"}, true},
		{[]string{"ancestor=debian:trixie"}, false},
	} {
		keep, err := parseFilters(c.filters)
		if err != nil || keep(r) != c.want {
			t.Errorf("%q: want %v (%v)", c.filters, c.want, err)
		}
	}
	if _, err := parseFilters([]string{"name=("}); err == nil {
		t.Error("name=( is taken")
	}
}

// TestTemplateFunctions holds docker's functions of --format.
func TestTemplateFunctions(t *testing.T) {
	for text, want := range map[string]string{
		`{{json .}}`:                 `"a<b>&c"`,
		`{{join (split . "<") "-"}}`: `a-b>&c`,
		`{{pad . 1 2}}|`:             ` a<b>&c  |`,
		`{{truncate . 3}}`:           `a<b`,
		`{{truncate . 99}}`:          `a<b>&c`,
	} {
		tmpl, err := parseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := applyTemplate(tmpl, "a<b>&c"); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}
