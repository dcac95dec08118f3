// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The binary that becomes a container's init stays small and quick to start:
// none of these packages may get into it.
func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-tags", "seccomp netgo osusergo", "../cmd/cpc-runtime")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, forbidden := range []string{
		"github.com/google/go-containerregistry",
		"github.com/moby/buildkit",
		"github.com/spf13/cobra",
		"github.com/spf13/pflag",
		"github.com/klauspost/compress",
		"github.com/miekg/dns",
		"github.com/claude-pocket-console/cpc/build",
		"github.com/claude-pocket-console/cpc/netns",
		"github.com/claude-pocket-console/cpc/rootfs",
		"github.com/claude-pocket-console/cpc/sandbox",
		"net/http",
		"crypto/tls",
		"html/template",
		"text/template",
	} {
		for pkg := range strings.FieldsSeq(string(out)) {
			if pkg == forbidden || strings.HasPrefix(pkg, forbidden+"/") {
				t.Errorf("cpc-runtime links %s", pkg)
			}
		}
	}
}
