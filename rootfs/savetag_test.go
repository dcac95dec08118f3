// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// A tag in docker's archive is one image, however many of an index this host could
// run; for an index of other platforms it is the first.
func TestDockerTagIsOneImage(t *testing.T) {
	single(t, func(t modetest.T, s *Store) {
		host := importTar(t, s, "host:v1", entry{name: "f", content: "host"})
		variant := func(arch, variant string) *Image {
			cfg := host.Config
			cfg.Architecture, cfg.Variant = arch, variant
			img, err := s.PutImage(t.Context(), cfg, host.LayerDescriptors(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
		newer, s390, riscv := variant(HostPlatform().Architecture, "v9"), variant("s390x", ""), variant("riscv64", "")
		for _, c := range []struct {
			name    string
			members []*Image
			want    *Image
		}{{"multi:v1", []*Image{newer, s390, host}, host}, {"foreign:v1", []*Image{riscv, s390}, riscv}} {
			if _, err := s.PutIndex(t.Context(), c.members, []string{c.name}); err != nil {
				t.Fatal(err)
			}
			var listed []dockerImage
			if err := json.Unmarshal(tarFile(t, save(t, s, DockerArchive, c.name), "manifest.json"), &listed); err != nil {
				t.Fatal(err)
			}
			if len(listed) != 1 || len(listed[0].RepoTags) != 1 || listed[0].Config != blobName(c.want.ConfigDigest) {
				t.Errorf("%s: %+v, want %s alone", c.name, listed, c.want.ConfigDigest)
			}
		}
	})
}

// tarFile is a file of an archive.
func tarFile(t modetest.T, archive []byte, name string) []byte {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.Name == name {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
	}
}
