// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// What is offered one day must not be said to be missing.
func TestNotOffered(t *testing.T) {
	strange := commandsNotOffered()
	for _, c := range newRoot(&app{}).Commands() {
		if strange[c.Name()] != "" && !c.Hidden {
			t.Errorf("cpc %s is offered", c.Name())
		}
		delete(strange, c.Name())
	}
	for name := range strange {
		t.Errorf("cpc %s does not say that it is missing", name)
	}
}

func TestUsageLine(t *testing.T) {
	for _, args := range [][]string{{}, {"net"}, {"image"}} {
		root := newRoot(&app{})
		cmd, _, err := root.Find(args)
		if err != nil {
			t.Fatal(err)
		}
		if got := cmd.UsageString(); strings.Contains(got, "[command]\n") || !strings.Contains(got, cmd.CommandPath()+" COMMAND\n") {
			t.Errorf("%q: %s", args, got)
		}
	}
}
