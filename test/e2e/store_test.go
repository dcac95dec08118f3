// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// maxRSS is the most memory in bytes that a command or a child of it had.
func maxRSS(cmd *exec.Cmd) int64 {
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return u.Maxrss << 10
	}
	return -1
}

// ownStore is a caller whose images and sandboxes are in directories of their
// own, which a test can spoil.
type ownStore struct {
	*who
	dir string
}

func newStore(t *testing.T, w *who) *ownStore {
	t.Helper()
	dir, err := os.MkdirTemp(w.home, "store-") //nolint:usetesting // where the caller can go
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, w.uid, w.gid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	return &ownStore{who: w, dir: dir}
}

func (o *ownStore) cpc(args ...string) *exec.Cmd {
	cmd := o.command(o.bin, args...)
	cmd.Env = append(cmd.Env, "CPC_DATA_DIR="+o.dir+"/data", "CPC_STATE_DIR="+o.dir+"/state")
	return cmd
}

func (o *ownStore) run(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, o.cpc(args...))
}

func (o *ownStore) must(t *testing.T, args ...string) string {
	t.Helper()
	r := o.run(t, args...)
	if r.code != 0 {
		t.Fatalf("cpc %s: exit status %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

func (o *ownStore) fails(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	r := o.run(t, args...)
	if r.code != code {
		t.Errorf("cpc %s: exit status %d, want %d\n%s", strings.Join(args, " "), r.code, code, r.stderr)
	}
	for _, s := range says {
		if !strings.Contains(r.stderr, s) {
			t.Errorf("cpc %s: does not say %q, but: %s", strings.Join(args, " "), s, r.stderr)
		}
	}
}

func (o *ownStore) importSmall(t *testing.T, name string) {
	t.Helper()
	cmd := o.cpc("import", "-", name)
	cmd.Stdin = bytes.NewReader(makeTar(t, entry{name: "f", data: strings.Repeat(name+" content ", 5000)}))
	if r := finish(t, cmd); r.code != 0 {
		t.Fatal(r.stderr)
	}
}

// clean fails the test if a failed command has left something half made.
func (o *ownStore) clean(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"state/sandboxes/*", "data/sandboxes/*", "data/scratch/*", "data/tmp/*"} {
		if found, _ := filepath.Glob(filepath.Join(o.dir, pattern)); len(found) > 0 {
			t.Errorf("left behind: %s", found)
		}
	}
}

// manifest returns the manifest blob's file, and that of the first layer.
func (o *ownStore) manifest(t *testing.T) (manifest, layer string) {
	t.Helper()
	var index struct{ Manifests []struct{ Digest string } }
	var m struct{ Layers []struct{ Digest string } }
	blob := func(digest string) string {
		return filepath.Join(o.dir, "data/oci/blobs", strings.ReplaceAll(digest, ":", "/"))
	}
	readJSON(t, filepath.Join(o.dir, "data/oci/index.json"), &index)
	manifest = blob(index.Manifests[0].Digest)
	readJSON(t, manifest, &m)
	return manifest, blob(m.Layers[0].Digest)
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// flip turns over a bit in the middle of a file.
func flip(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedStore spoils files of a store. What is damaged is named, with the
// way out, which works; what is not damaged is still of use.
func TestDamagedStore(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		remove := func(t *testing.T, file string) {
			t.Helper()
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		empty := func(t *testing.T, file string) {
			t.Helper()
			if err := os.Truncate(file, 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name  string
			layer bool
			spoil func(t *testing.T, file string)
			says  string
		}{
			{"a bit of the layer", true, flip, "corrupt"},
			{"the layer cut off", true, empty, "corrupt: 0 bytes instead of"},
			{"the layer missing", true, remove, "corrupt: the file is missing"},
			{"a bit of the manifest", false, flip, "corrupt: content has the digest"},
			{"the manifest cut off", false, empty, "corrupt: 0 bytes instead of"},
			{"the manifest missing", false, remove, "corrupt: the file is missing"},
		} {
			t.Run(c.name, func(t *testing.T) {
				o := newStore(t, w)
				o.importSmall(t, "x/spoilt")
				manifest, layer := o.manifest(t)
				o.importSmall(t, "x/good")
				file := manifest
				if c.layer {
					file = layer
					o.forgetLayers(t)
				}
				c.spoil(t, file)
				hint := "cpc rmi IMAGE, then pull, import or build it again"
				o.fails(t, 125, []string{c.says, filepath.Base(file), hint}, "run", "--rm", "x/spoilt", "/f")
				o.clean(t)
				if r := o.run(t, "images", "--format", "{{.Repository}}"); !strings.Contains(r.stdout, "x/good\n") {
					t.Errorf("the good image is not listed: %+v", r)
				}
				o.fails(t, 126, nil, "run", "--rm", "x/good", "/etc") // reached: its layer is fine
				o.must(t, "rmi", "x/spoilt")
				if got := o.must(t, "images", "--format", "{{.Repository}}"); got != "x/good\n" {
					t.Errorf("images are %q", got)
				}
				o.importSmall(t, "x/spoilt")
				o.must(t, "inspect", "x/spoilt")
				o.clean(t)
			})
		}
	})
}

// forgetLayers removes the unpacked layers, so that they are unpacked again.
func (o *ownStore) forgetLayers(t *testing.T) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(o.dir, "data/layers/*/*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("layers: %v, %v", dirs, err)
	}
	for _, dir := range dirs {
		if err := removeTree(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLostIndex takes the list of images away: every command that needs it
// says so, none takes the store for an empty one, and what it says helps.
func TestLostIndex(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		for _, cut := range []int64{0, 40, -1} {
			o := newStore(t, w)
			o.importSmall(t, "x/lost")
			index := filepath.Join(o.dir, "data/oci/index.json")
			err := os.Remove(index)
			if cut >= 0 {
				err = errors.Join(err, os.WriteFile(index, []byte(`{"schemaVersion":2,"manifests":[{"mediaTyp`)[:cut], 0o600), os.Chown(index, w.uid, w.gid))
			}
			if err != nil {
				t.Fatal(err)
			}
			says := []string{"image index", index, "cpc system check --repair"}
			o.fails(t, 1, says, "images")
			o.fails(t, 125, says, "run", "x/lost", "/f")
			o.fails(t, 1, says, "rmi", "x/lost")
			o.fails(t, 1, says, "tag", "x/lost", "x/other")
			o.clean(t)
			if err := os.RemoveAll(filepath.Dir(index)); err != nil {
				t.Fatal(err)
			}
			o.importSmall(t, "x/lost")
			o.fails(t, 126, nil, "run", "--rm", "x/lost", "/etc")
		}
	})
}

// TestConcurrentCommands has processes do the same thing at the same time.
func TestConcurrentCommands(t *testing.T) {
	each(t, func(t *testing.T, w *who) {
		dir := filepath.Join(w.home, "concurrent")
		if err := errors.Join(os.MkdirAll(dir, 0o755), //nolint:gosec // a build context
			os.WriteFile(dir+"/Dockerfile", []byte("FROM "+base+"\nRUN sleep 0.2; echo a > /a\nRUN echo b > /b\n"), 0o644)); err != nil { //nolint:gosec // a build context
			t.Fatal(err)
		}
		at := func(n int, do func(i int) *exec.Cmd) []string {
			var wg sync.WaitGroup
			out := make([]string, n)
			for i := range n {
				wg.Go(func() {
					raw, err := do(i).CombinedOutput()
					if err != nil {
						t.Errorf("%d: %v: %s", i, err, raw)
					}
					out[i] = strings.TrimSpace(string(raw))
				})
			}
			wg.Wait()
			return out
		}
		w.cpc(t) // the base image is there
		built := at(2, func(i int) *exec.Cmd { return w.command(w.bin, "build", "-q", "-t", fmt.Sprintf("both:%d", i), dir) })
		again := w.must(t, "build", "-q", "-t", "both:2", dir)
		if !slices.Contains(built, strings.TrimSpace(again)) {
			t.Errorf("built %q, then %q", built, again)
		}
		small := makeTar(t, entry{name: "f", data: "content"})
		at(4, func(i int) *exec.Cmd {
			cmd := w.command(w.bin, "import", "-", fmt.Sprintf("both:import%d", i))
			cmd.Stdin = bytes.NewReader(small)
			return cmd
		})
		said := at(4, func(int) *exec.Cmd { return w.command(w.bin, "run", "--rm", "both:2", "cat", "/a", "/b") })
		for _, s := range said {
			if !strings.HasSuffix(s, "a\nb") {
				t.Errorf("run printed %q", s)
			}
		}
		names := lines(w.must(t, "images", "both", "--format", "{{.Repository}}:{{.Tag}}"))
		if len(names) != 7 {
			t.Errorf("images: %q", names)
		}
		at(len(names), func(i int) *exec.Cmd { return w.command(w.bin, "rmi", names[i]) })
		if left := w.must(t, "images", "both", "-q"); left != "" {
			t.Errorf("images left: %q", left)
		}
	})
}

// TestOtherToolsRead has skopeo and umoci read images by name.
func TestOtherToolsRead(t *testing.T) {
	for _, tool := range []string{"skopeo", "umoci"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: run make setup", tool)
		}
	}
	each(t, func(t *testing.T, w *who) {
		w.must(t, "tag", base, "tools:v1")
		defer w.must(t, "rmi", "tools:v1")
		layout := filepath.Join(w.data, "oci")
		out, err := w.command("skopeo", "inspect", "--config", "oci:"+layout+":docker.io/library/tools:v1").CombinedOutput()
		var config struct {
			OS     string `json:"os"`
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			} `json:"rootfs"`
		}
		if err != nil || json.Unmarshal(out, &config) != nil || config.OS != "linux" || len(config.RootFS.DiffIDs) != 1 {
			t.Errorf("skopeo: %v: %s", err, out)
		}
		out, err = w.command("umoci", "list", "--layout", layout).CombinedOutput()
		if err != nil || !slices.Contains(lines(string(out)), "docker.io/library/tools:v1") {
			t.Errorf("umoci: %v: %s", err, out)
		}
	})
}
