// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

const cachedDockerfile = `FROM scratch AS tools
COPY tool /tool
FROM scratch
COPY --from=tools /tool /bin/tool
LABEL a=b
COPY tool /again
`

// TestBuildCache moves the cache of a build from one machine's store to
// another's by way of a registry and of a directory.
func TestBuildCache(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		server := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
		t.Cleanup(server.Close)
		host := strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1)
		first := newStore(t, w)
		ctx := filepath.Join(first.dir, "ctx")
		for name, text := range map[string]string{"Dockerfile": cachedDockerfile, "tool": "tool\n"} {
			if err := os.MkdirAll(ctx, 0o755); err != nil { //nolint:gosec // a build context
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(ctx, name), []byte(text), 0o644); err != nil { //nolint:gosec // a build context
				t.Fatal(err)
			}
		}
		build := func(o *ownStore, args ...string) (id string, cached int, said string) {
			t.Helper()
			iid := filepath.Join(o.dir, "iid")
			r := o.run(t, append(append([]string{"build", "--sbom=false", "--progress", "plain", "--iidfile", iid}, args...), ctx)...)
			if r.code != 0 {
				t.Fatalf("cpc build %v: exit status %d\n%s", args, r.code, r.stderr)
			}
			data, err := os.ReadFile(iid)
			if err != nil {
				t.Fatal(err)
			}
			return string(data), strings.Count(r.stderr, " CACHED\n"), r.stderr
		}
		// The first build of many has no cache to use, which is said and is no error.
		want, cached, said := build(first, "-t", host+"/app:1",
			"--cache-from", "type=registry,ref="+host+"/cache:max", "--push",
			"--cache-to", "type=registry,ref="+host+"/cache:max,mode=max",
			"--cache-to", "type=registry,ref="+host+"/cache:min,mode=min,image-manifest=true",
			"--cache-to", "type=local,dest="+first.dir+"/cache,mode=max",
			"--cache-to", "type=inline", "--cache-to", "type=gha")
		if cached != 0 || !strings.Contains(said, "WARNING: cache "+host+"/cache:max") || !strings.Contains(said, "type=gha: only the types") {
			t.Errorf("%d steps of the first build cached:\n%s", cached, said)
		}
		for _, c := range []struct {
			from string
			want int
		}{
			{"type=registry,ref=" + host + "/cache:max", 3},
			{"type=registry,ref=" + host + "/cache:min", 2},
			{host + "/app:1", 2}, // inline
			{"type=local,src=" + first.dir + "/cache", 3},
		} {
			if got, cached, said := build(newStore(t, w), "--cache-from", c.from); cached != c.want || c.want == 3 && got != want {
				t.Errorf("from %s: %s, %d steps cached; want %s, %d\n%s", c.from, got, cached, want, c.want, said)
			}
		}
		spoilt := newStore(t, w)
		spoilt.fails(t, 125, []string{"ref is missing"}, "build", "--cache-to", "type=registry", ctx)
		spoilt.fails(t, 125, []string{"choose min or max"}, "build", "--cache-to", "type=registry,ref=x,mode=some", ctx)
		if _, _, said := build(spoilt, "--cache-to", "type=registry,ref=localhost:1/c,ignore-error=true"); !strings.Contains(said, "WARNING: push cache localhost:1/c") {
			t.Errorf("an export that fails and may:\n%s", said)
		}
		spoilt.fails(t, 1, []string{"push cache localhost:1/c"}, "build", "--sbom=false", "--cache-to", "type=registry,ref=localhost:1/c", ctx)
		spoilt.clean(t)
	})
}

// TestBuildPull: --pull asks the registry for a newer base, and nothing else does.
func TestBuildPull(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		server := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
		t.Cleanup(server.Close)
		ref := strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1) + "/base:1"
		here, there := newStore(t, w), newStore(t, w)
		write := func(name, text string) string {
			t.Helper()
			dir := filepath.Join(here.dir, name)
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a build context
				t.Fatal(err)
			}
			for file, data := range map[string]string{"Dockerfile": text, "f": text} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o644); err != nil { //nolint:gosec // a build context
					t.Fatal(err)
				}
			}
			return dir
		}
		app := write("app", "FROM "+ref+"\nCOPY f /g\n")
		for i, c := range []struct {
			flags []string
			want  string
		}{{nil, "1"}, {nil, "1"}, {[]string{"--pull"}, "3"}, {nil, "3"}} {
			base := write("base", "FROM scratch\nCOPY f /f\nLABEL n="+strconv.Itoa(i+1)+"\n")
			there.must(t, "build", "-q", "--sbom=false", "--push", "-t", ref, base)
			here.must(t, append(append([]string{"build", "-q", "--sbom=false", "-t", "app"}, c.flags...), app)...)
			if got := strings.TrimSpace(here.must(t, "inspect", "--format", "{{.Config.Labels.n}}", "app")); got != c.want {
				t.Errorf("build %d, %v: on base %s, want %s", i+1, c.flags, got, c.want)
			}
		}
		here.clean(t)
	})
}
