// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/command"
)

// samples has an instruction of each kind.
var samples = []string{
	"ADD a b", "ARG a", "CMD a", "COPY a b", "ENTRYPOINT a", "ENV a=b", "EXPOSE 1", "HEALTHCHECK NONE", "LABEL a=b", "MAINTAINER a",
	"ONBUILD RUN a", "RUN a", `SHELL ["a"]`, "STOPSIGNAL 1", "USER a", "VOLUME a", "WORKDIR /a",
}

// TestKinds: what BuildKit's parser knows is in the table, read as what it is, and
// nothing else.
func TestKinds(t *testing.T) {
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(command.Commands)), func(name string) bool { return name == command.From })
	for i := range known {
		known[i] = strings.ToUpper(known[i])
	}
	if got := slices.Sorted(maps.Keys(kinds)); !slices.Equal(got, known) {
		t.Errorf("the table has %v, BuildKit %v", got, known)
	}
	seen := map[string]bool{}
	d, err := Parse("Dockerfile", []byte("FROM scratch\n"+strings.Join(samples, "\n")+"\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range d.Stages[0].instructions {
		seen[i.Name()] = true
		if i.Location()[0].Start.Line < 2 {
			t.Errorf("%s: at %v", i.Name(), i.Location())
		}
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, known) {
		t.Errorf("read %v of %v", got, known)
	}
	layers := slices.DeleteFunc(slices.Clone(known), func(name string) bool { return !kinds[name].layer })
	if n := countLayers(d.Stages[0].instructions); n != len(layers) || !slices.Equal(layers, []string{"ADD", "COPY", "RUN", "WORKDIR"}) {
		t.Errorf("%d of %v make layers", n, layers)
	}
}
