// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"os"
	"strings"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

func TestLookSeesTheImageAndNothingElse(t *testing.T) {
	modetest.Each(t, func(t modetest.T) {
		s := openStore(t, t.Mapping)
		img := importTar(t, s, "debian:x",
			entry{name: "f", content: "of the image"},
			entry{name: "out", kind: tar.TypeSymlink, link: "/etc/passwd"},
			entry{name: "up", kind: tar.TypeSymlink, link: "../../../../../../etc/passwd"})
		before := files(t, s)
		err := s.Look(t.Context(), img, func(root *os.Root) error {
			if data, err := root.ReadFile("f"); err != nil || string(data) != "of the image" {
				t.Errorf("f: %q, %v", data, err)
			}
			for _, name := range []string{"out", "up", "../f"} {
				if data, err := root.ReadFile(name); err == nil {
					t.Errorf("%s leads to %q", name, data)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.layerDir(img.Config.RootFS.DiffIDs[0])); err != nil {
			t.Errorf("the layer is not unpacked: %v", err)
		}
		if after := files(t, s); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Errorf("files %q, before %q", after, before)
		}
	})
}
