// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// strange is a flag of docker or podman that cpc has not. Values of it that ask
// for what is so anyway are taken, and do nothing; all others are refused with
// the reason and the way that there is.
type strange struct {
	name  string // and, after a space, its letter
	taken string // values, between spaces; "" is one of them. "*": any. None: the flag is refused as such
	why   string
}

// onOff marks a flag that needs no value, in taken.
const onOff = "bool"

// strangeValue is a strange flag that was registered, so that its values can be
// told apart.
type strangeValue struct {
	strange
	given string
}

// refusal is the answer to a strange flag.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func (v *strangeValue) values() []string { return strings.Fields(v.taken) }

// Type implements pflag.Value.
func (v *strangeValue) Type() string {
	if slices.Contains(v.values(), onOff) {
		return onOff
	}
	return "string"
}

func (v *strangeValue) String() string { return v.given }

// Set implements pflag.Value.
func (v *strangeValue) Set(s string) error {
	name, _, _ := strings.Cut(v.name, " ")
	v.given = s
	if slices.Contains(v.values(), "*") {
		return nil
	}
	key := s
	if v.Type() == onOff {
		on, err := strconv.ParseBool(s)
		if err != nil {
			return err
		}
		key = strconv.FormatBool(on)
	}
	for _, ok := range v.values() {
		if ok == key || strings.HasSuffix(ok, "=") && strings.HasPrefix(key, ok) {
			return nil
		}
	}
	if s == "" && v.Type() != onOff {
		return nil
	}
	if v.Type() == onOff && key == "true" {
		return &refusal{"--" + name + " is not offered: " + v.why}
	}
	return &refusal{"--" + name + "=" + s + " is not offered: " + v.why}
}

// registerStrange gives every command the flags that it takes for others' sake.
func registerStrange(cmd *cobra.Command, flags map[string][]strange) {
	for _, f := range flags[dockerName(cmd)] {
		if f.taken == "" {
			continue
		}
		name, letter, _ := strings.Cut(f.name, " ")
		v := &strangeValue{strange: f}
		flag := cmd.Flags().VarPF(v, name, letter, "")
		flag.Hidden = true
		if v.Type() == onOff {
			flag.NoOptDefVal = "true"
		}
	}
	for _, sub := range cmd.Commands() {
		registerStrange(sub, flags)
	}
}

// dockerName is what docker calls a command in short: container ls is ps.
func dockerName(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	short, ok := map[string]string{
		"container ls": "ps", "image ls": "images", "image rm": "rmi", "system info": "info", "system events": "events",
		"buildx build": "build", "builder build": "build", "image build": "build", "buildx prune": "builder prune", "net learn": "run",
	}[name]
	if ok {
		return short
	}
	for _, noun := range []string{"container ", "image "} {
		if rest, ok := strings.CutPrefix(name, noun); ok && rest != "prune" {
			return rest
		}
	}
	return name
}

// notOffered words the refusal of a flag that people know from docker.
func notOffered(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	name := unknown.GetSpecifiedName()
	for _, flags := range [][]strange{strangeFlags()[dockerName(cmd)], strangeEverywhere()} {
		for _, f := range flags {
			long, letter, _ := strings.Cut(f.name, " ")
			if f.taken == "" && (name == long || name == letter) {
				return usageError{errors.New(dashed(name) + " is not offered: " + f.why)}
			}
		}
	}
	return nil
}

func dashed(flag string) string { return strings.Repeat("-", min(len(flag), 2)) + flag }
