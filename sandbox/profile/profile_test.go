// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/config"
)

func configOf(system, user map[string]config.Profile) config.Config {
	return config.Config{
		System: config.File{Path: "/etc/system", Profiles: system},
		User:   config.File{Path: "/home/user", Profiles: user},
	}
}

// TestChoose: whose word counts, when several name a profile.
func TestChoose(t *testing.T) {
	for _, c := range []struct{ named, user, system, minimum, want string }{
		{want: "sandbox"},
		{minimum: "work", want: "work"},
		{system: "sandbox", minimum: "work", want: "sandbox"},
		{user: "work", system: "sandbox", want: "work"},
		{named: "mine", user: "work", system: "sandbox", minimum: "site", want: "mine"},
		{named: "none", want: `error: --profile: no profile "none"`},
		{user: "none", want: `error: /home/user: profile: no profile "none"`},
		{system: "none", want: `error: /etc/system: profile: no profile "none"`},
		{minimum: "none", want: `error: configuration /etc/system: minimum: no profile "none"`},
		{minimum: "mine", want: `error: configuration /etc/system: minimum: no profile "mine"`}, // the user's
	} {
		conf := configOf(map[string]config.Profile{"site": {}}, map[string]config.Profile{"mine": {}})
		conf.User.Profile, conf.System.Profile, conf.System.Minimum = c.user, c.system, c.minimum
		set, err := New(conf)
		var p Profile
		if err == nil {
			p, err = set.Choose(c.named)
		}
		got := p.Name
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestBase: what a profile does not say is its base's; a list takes the place of the base's.
func TestBase(t *testing.T) {
	set, err := New(configOf(
		map[string]config.Profile{"site": {"base": "work", "memory": "8g", "tmpfs": []any{"/cache"}}},
		map[string]config.Profile{
			"mine": {"base": "deep", "pids-limit": int64(9), "cpus": 1.5, "read-only": false},
			"deep": {"base": "site", "cap-drop": []any{}, "root": map[string]any{"cap-add": []any{"FOWNER"}}, "summary": "deep"},
		},
	))
	if err != nil {
		t.Fatal(err)
	}
	p, err := set.Choose("mine")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]string{
		"memory": {"8g"}, "tmpfs": {"/cache"}, "shm-size": {"512m"}, "pids-limit": {"9"}, "cpus": {"1.5"}, "read-only": {"false"},
		"cap-drop": {}, RootCapAdd: {"FOWNER"}, "security-opt": nil,
	} {
		if !reflect.DeepEqual(p.Settings[key], want) {
			t.Errorf("%s: %q, want %q", key, p.Settings[key], want)
		}
	}
	if p.From != "/home/user" || p.Summary != "" {
		t.Errorf("%+v", p)
	}
	var names []string
	for _, p := range set.All() {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"sandbox", "work", "deep", "mine", "site"}) {
		t.Errorf("order %q", names)
	}
}

// TestMinimumIsTheAdministrators: a user's profile of the same name does not change what
// nothing may be weaker than.
func TestMinimumIsTheAdministrators(t *testing.T) {
	conf := configOf(map[string]config.Profile{"site": {"memory": "1g"}}, map[string]config.Profile{"site": {"memory": "64g"}})
	conf.System.Minimum = "site"
	set, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	if p, held := set.Minimum(); !held || p.Settings["memory"][0] != "1g" {
		t.Errorf("minimum %+v, %v", p, held)
	}
	if p, err := set.Choose("site"); err != nil || p.Settings["memory"][0] != "64g" {
		t.Errorf("chosen %+v, %v", p, err)
	}
}

func TestErrors(t *testing.T) {
	for want, p := range map[string]config.Profile{
		"unknown key memroy: did you mean memory?": {"memroy": "1g"},
		"unknown key user":                         {"user": "0"},
		"unknown key root.cap-add":                 {"root.cap-add": []any{"CHOWN"}},
		"tmpfs: /tmp: must be a list":              {"tmpfs": "/tmp"},
		"tmpfs: 1: not a string":                   {"tmpfs": []any{int64(1)}},
		"memory: [1g]: must be a single value":     {"memory": []any{"1g"}},
		"memory: map[]: a string":                  {"memory": map[string]any{}},
		"summary: not a string":                    {"summary": int64(1)},
		"root: a table with the key cap-add":       {"root": map[string]any{"memory": "1g"}},
		`base: no profile "none"`:                  {"base": "none"},
		"is its own base":                          {"base": "p"},
	} {
		_, err := New(configOf(nil, map[string]config.Profile{"p": p}))
		if err == nil || !strings.Contains(err.Error(), "configuration /home/user: profile p: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", p, err, want)
		}
	}
	if _, err := New(configOf(map[string]config.Profile{"work": {}}, nil)); err == nil || !strings.Contains(err.Error(), "cpc has one of this name") {
		t.Errorf("a second work: %v", err)
	}
}

// TestShown: what is shown can be put into config.toml, and means the same there.
func TestShown(t *testing.T) {
	set, err := New(config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range set.All() {
		text := strings.ReplaceAll(p.TOML(), "[profiles."+p.Name, "[profiles.copy")
		file, err := config.Parse(text)
		if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		copied, err := New(configOf(nil, file.Profiles))
		if err != nil {
			t.Fatal(err)
		}
		again, err := copied.Choose("copy")
		if err != nil || again.Summary != p.Summary || len(p.Settings) < 8 {
			t.Errorf("%+v, %v", again, err)
		}
		for key, values := range p.Settings {
			if plainly := strings.TrimSuffix(values[0], ".0"); !slices.Equal(again.Settings[key], values) && again.Settings[key][0] != plainly {
				t.Errorf("%s: %q, again %q", key, values, again.Settings[key])
			}
		}
	}
}

func FuzzProfiles(f *testing.F) {
	f.Add("[profiles.a]\nbase = 'work'\nmemory = 1\n[profiles.a.root]\ncap-add = ['x']")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := config.Parse(text)
		if err != nil {
			return
		}
		set, err := New(configOf(nil, file.Profiles))
		if err != nil {
			return
		}
		for _, p := range set.All() {
			for key, values := range p.Settings {
				if !slices.Contains(Keys(), key) || !isList(key) && len(values) != 1 {
					t.Errorf("%s: %q", key, values)
				}
			}
		}
	})
}
