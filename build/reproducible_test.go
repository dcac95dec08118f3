// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// TestReproducible: with SOURCE_DATE_EPOCH the same inputs give the same
// digests, twice, and rootless as well as root.
func TestReproducible(t *testing.T) {
	buildHelper(t)
	const env = "CPC_BUILD_TEST_DIGESTS"
	if !modetest.Inside() {
		dir := t.TempDir()
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chmod(d, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv(env, dir)
	}
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		digest := ""
		for range 2 {
			b := newBed(t, m)
			dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte(baseDockerfile + `RUN mkdir /d && echo x > /d/f && chown 5:6 /d/f && ln /d /l
WORKDIR /w
COPY --chown=app data /w/
COPY --link data/f /linked/
RUN --mount=type=cache,target=/c --mount=source=data,target=/data cat /data/f > /g
LABEL a=b
`)}, txtar.File{Name: "data/f", Data: []byte("F")})
			img, _ := b.rebuild(t, dir, func(o *Options) { o.Args["SOURCE_DATE_EPOCH"] = "1700000000" })
			if digest != "" && digest != img.Digest.String() {
				t.Errorf("two builds gave %s and %s", digest, img.Digest)
			}
			digest = img.Digest.String()
		}
		name := filepath.Join(os.Getenv(env), string(m.Mode))
		if err := os.WriteFile(name, []byte(digest), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	if modetest.Inside() {
		return
	}
	found := map[string]string{}
	files, err := filepath.Glob(filepath.Join(os.Getenv(env), "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no digests", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		found[string(data)] += filepath.Base(f) + " "
	}
	if len(found) != 1 {
		t.Errorf("digests differ: %v", found)
	}
}

// The time of all files can be set in the Dockerfile; --build-arg comes first.
func TestEpochOfDockerfile(t *testing.T) {
	for _, c := range []struct {
		file, arg string
		want      int64
	}{
		{"ARG SOURCE_DATE_EPOCH=1700000000\nFROM scratch\n", "", 1700000000},
		{"ARG SOURCE_DATE_EPOCH=1700000000\nFROM scratch\n", "5", 5},
		{"FROM scratch\nARG SOURCE_DATE_EPOCH=7\n", "", 0},
		{"ARG SOURCE_DATE_EPOCH=context\nFROM scratch\n", "", -1},
	} {
		b := &builder{Options: Options{Dockerfile: "-", Stdin: strings.NewReader(c.file), Args: map[string]string{}}}
		if c.arg != "" {
			b.Args[dockerfile.EpochArg] = c.arg
		}
		err := b.prepare()
		switch {
		case c.want < 0 && err == nil:
			t.Errorf("%q: no error", c.file)
		case c.want >= 0 && err != nil:
			t.Errorf("%q: %v", c.file, err)
		case c.want > 0 && b.epoch.Unix() != c.want || c.want == 0 && !b.epoch.IsZero():
			t.Errorf("%q with %q: %v", c.file, c.arg, b.epoch)
		}
	}
}
