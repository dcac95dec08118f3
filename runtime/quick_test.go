// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Every field that libcontainer knows of a container either is in quickConfig or
// says nothing about a further process. A new one must be looked at.
func TestQuickKnowsAll(t *testing.T) {
	known := []string{ // of the root file system, init alone, the cgroup or other commands
		"no_pivot_root", "parent_death_signal", "rootfs", "readonlyfs", "rootPropagation", "mounts", "devices", "netDevices",
		"mount_label", "hostname", "domainname", "networks", "routes", "cgroups", "mask_paths", "readonly_paths", "sysctl",
		"Hooks", "version", "time_offsets", "uid_mappings", "gid_mappings",
		"no_new_privileges", // always given with the process
	}
	for _, of := range []reflect.Type{reflect.TypeFor[quickConfig](), reflect.TypeFor[longWay]()} {
		known = append(known, tags(of)...)
	}
	for _, tag := range tags(reflect.TypeFor[configs.Config]()) {
		if !slices.Contains(known, tag) {
			t.Errorf("field %q of a container: does the quick way of exec need it?", tag)
		}
	}
}

func tags(of reflect.Type) (names []string) {
	for field := range of.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func TestEnvironment(t *testing.T) {
	for _, tt := range []struct {
		env, want []string
		noHome    bool
	}{
		{nil, nil, true},
		{[]string{"A=1", "B=2", "A=3"}, []string{"B=2", "A=3"}, true},
		{[]string{"HOME=/x", "A="}, []string{"HOME=/x", "A="}, false},
		{[]string{"HOME=/x", "HOME="}, nil, true},
	} {
		got, noHome, err := environment(tt.env)
		if err != nil || noHome != tt.noHome || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, %v, %v", tt.env, got, noHome, err)
		}
	}
	for _, bad := range []string{"A", "=x", "A=b\x00c"} {
		if _, _, err := environment([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestAlive(t *testing.T) {
	const stat = "12 (a) S b) S 1 12 12 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 2"
	for text, want := range map[string]bool{
		stat: true, strings.Replace(stat, "b) S", "b) Z", 1): false, strings.Replace(stat, "777", "778", 1): false,
		"12 (a) S": false, "": false,
	} {
		if alive(text, 777) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

// A command is under the container's AppArmor profile, unless it has its own.
func TestQuickProfile(t *testing.T) {
	for own, want := range map[string]string{"": "container", "command": "command"} {
		s := quickState{ID: "c1", Config: quickConfig{AppArmor: "container", Capabilities: &configs.Capabilities{}, RootlessEUID: true}}
		plan, err := s.plan(&specs.Process{Args: []string{"true"}, Cwd: "/", ApparmorProfile: own})
		if err != nil || plan.Profile != want {
			t.Errorf("%q: %+v, %v", own, plan, err)
		}
	}
}
