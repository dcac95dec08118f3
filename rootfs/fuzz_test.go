// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/rootfs/store"
)

// FuzzIndex: a list of platforms that is taken can be worked with.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"` + emptyDigest + `","size":1,"platform":{"os":"linux","architecture":"arm64"}}]}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		idx, err := store.ParseIndex(data)
		if err != nil {
			return
		}
		for _, d := range idx.Manifests {
			_ = d.Digest.Encoded()
			if d.Platform != nil {
				_ = serves(HostPlatform(), *d.Platform)
			}
		}
	})
}

// FuzzLoad: whatever an archive holds, what is taken of it is sound, and
// nothing else is left.
func FuzzLoad(f *testing.F) {
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`
	f.Add("manifest.json", `[{"Config":"c.json","RepoTags":["a:b"],"Layers":[]}]`, "c.json", config)
	f.Add("index.json", `{"manifests":[]}`, "oci-layout", `{}`)
	f.Add("index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+emptyDigest+`"}]}`, "oci-layout", `{}`)
	f.Fuzz(func(t *testing.T, name, content, name2, content2 string) {
		s, err := Open(Options{Dir: filepath.Join(t.TempDir(), "store"), Mapping: idmap.ForSingle()})
		if err != nil {
			t.Fatal(err)
		}
		if len(name) > 200 || len(name2) > 200 {
			return
		}
		var data []byte
		func() {
			defer func() { _ = recover() }() // a name that no tar can hold
			data = tarOf(quiet{t}, entry{name: name, content: content}, entry{name: name2, content: content2})
		}()
		images, err := s.Load(t.Context(), bytes.NewReader(data), LoadOptions{})
		if (err == nil) != (len(images) > 0) {
			t.Errorf("%d images, %v", len(images), err)
		}
		if err := s.Collect(t.Context()); err != nil {
			t.Error(err)
		}
		if found, err := s.Check(t.Context(), false); err != nil || len(found) != 0 {
			t.Errorf("afterwards: %+v %v", found, err)
		}
	})
}

// quiet turns a failure to make the input into a panic, which is no failure.
type quiet struct{ testing.TB }

func (quiet) Fatal(args ...any) { panic(args) }
