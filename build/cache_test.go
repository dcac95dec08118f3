// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
	"github.com/claude-pocket-console/cpc/rootfs"
)

const cacheDockerfile = `FROM base AS one
ARG V=1
LABEL unrelated=1
RUN echo one > /one
COPY data /data/
RUN cat /data/f > /two
FROM base
COPY --from=one /two /three
WORKDIR /w
RUN echo last
`

// rebuild builds and returns the image and how many RUN steps were executed.
func (b *bed) rebuild(t *testing.T, dir string, change func(*Options)) (*rootfs.Image, int) {
	t.Helper()
	o := b.options(dir, io.Discard)
	if change != nil {
		change(&o)
	}
	before := b.runner.count.Load()
	img, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return img, int(b.runner.count.Load() - before)
}

func edit(t *testing.T, dir, old, replacement string) {
	t.Helper()
	p := filepath.Join(dir, "Dockerfile")
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, p, bytes.Replace(data, []byte(old), []byte(replacement), 1), 0o644)
}

func TestCache(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte(cacheDockerfile)}, txtar.File{Name: "data/f", Data: []byte("F\n")})
		first, runs := b.rebuild(t, dir, nil)
		if runs != 3 {
			t.Fatalf("first build ran %d steps, want 3", runs)
		}
		steps := []struct {
			name   string
			change func()
			option func(*Options)
			runs   int
			same   bool
		}{
			{name: "nothing changed", same: true},
			{name: "new times", same: true, change: func() {
				now := time.Now().Add(time.Hour)
				if err := os.Chtimes(filepath.Join(dir, "data/f"), now, now); err != nil {
					t.Fatal(err)
				}
			}},
			{name: "a file that is not copied", same: true, change: func() { writeFile(t, filepath.Join(dir, "more"), nil, 0o644) }},
			{name: "a label", same: true, change: func() { edit(t, dir, "unrelated=1", "unrelated=2") }},
			{name: "a comment", same: true, change: func() { edit(t, dir, "COPY data", "# comment\nCOPY data") }},
			{name: "a build argument in scope", option: func(o *Options) { o.Args["V"] = "2" }, runs: 2, same: true},
			{name: "a mode", runs: 1, same: true, change: func() {
				if err := os.Chmod(filepath.Join(dir, "data/f"), 0o600); err != nil {
					t.Fatal(err)
				}
			}},
			{name: "a file's bytes", runs: 2, change: func() { writeFile(t, filepath.Join(dir, "data/f"), []byte("G\n"), 0o600) }},
			{name: "no cache", option: func(o *Options) { o.NoCache = true }, runs: 3},
		}
		for _, s := range steps {
			if s.change != nil {
				s.change()
			}
			img, runs := b.rebuild(t, dir, s.option)
			if runs != s.runs {
				t.Errorf("%s: ran %d steps, want %d", s.name, runs, s.runs)
			}
			if s.same && img.Digest != first.Digest {
				t.Errorf("%s: image %s, want %s as before", s.name, img.Digest, first.Digest)
			}
			if !s.same && img.Digest == first.Digest {
				t.Errorf("%s: the image did not change", s.name)
			}
		}
		b.nothingLeft(t)
		writeFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM base\n"), 0o644)
		base, err := b.store.Image(t.Context(), "base")
		if err != nil {
			t.Fatal(err)
		}
		if img, _ := b.rebuild(t, dir, nil); img.Digest != base.Digest {
			t.Errorf("FROM alone gives %s, not the base's %s", img.Digest, base.Digest)
		}
	})
}

// TestFailedStepKeepsEarlierOnes: after a failure is mended, only what comes
// from there on is run.
func TestFailedStepKeepsEarlierOnes(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\nRUN echo 1 > /1\nRUN exit 7\n")})
		_, err := Build(t.Context(), b.options(dir, io.Discard))
		exit, ok := errors.AsType[*ExitError](err)
		if !ok || exit.Code != 7 {
			t.Fatalf("got %v, want exit code 7", err)
		}
		if e, ok := errors.AsType[*dockerfile.Error](err); !ok || e.Line != 3 {
			t.Errorf("got %#v, want an Error for line 3", err)
		}
		edit(t, dir, "exit 7", "true")
		if _, runs := b.rebuild(t, dir, nil); runs != 1 {
			t.Errorf("ran %d steps, want 1", runs)
		}
	})
}

// TestEpoch: with SOURCE_DATE_EPOCH two stores give one and the same image.
func TestEpoch(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		var digests []string
		for range 2 {
			b := newBed(t, m)
			dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte(
				"FROM scratch\nCOPY helper /bin/sh\nRUN mkdir /x && echo y > /x/y\nWORKDIR /z\nCOPY <<A /a\nt\nA\nLABEL a=b\n",
			)})
			img, _ := b.rebuild(t, dir, func(o *Options) { o.Args[dockerfile.EpochArg] = "1700000000" })
			digests = append(digests, img.Digest.String())
			if c := img.Config.Created; c == nil || c.Unix() != 1700000000 {
				t.Errorf("created %v", c)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if digests[0] != digests[1] {
			t.Errorf("two images: %v", digests)
		}
	})
}

// TestCancel: a cancelled build stops the command and leaves nothing.
func TestCancel(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Root, idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\nRUN echo started && sleep 300\n")})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		started := writerFunc(func(p []byte) {
			if bytes.Contains(p, []byte(" started\n")) {
				cancel()
			}
		})
		start := time.Now()
		_, err := Build(ctx, b.options(dir, started))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("took %v", took)
		}
		b.nothingLeft(t)
	})
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// TestSingleID: with one id a build works until it needs another.
func TestSingleID(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Single}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base AS one\nRUN echo x > /x\nFROM base\nCOPY --from=one /x /y\nWORKDIR /w\nRUN cat /y > z\n")})
		if _, runs := b.rebuild(t, dir, nil); runs != 2 {
			t.Errorf("ran %d steps, want 2", runs)
		}
		dir = b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\nCOPY --chown=app helper /x\n")})
		_, err := Build(t.Context(), b.options(dir, io.Discard))
		if err == nil || !strings.Contains(err.Error(), "id 1000") || !strings.Contains(err.Error(), "/etc/subuid") {
			t.Errorf("got %v, want the id and what to do", err)
		}
		b.nothingLeft(t)
	})
}

// TestPull: a base that the store lacks is pulled, once.
func TestPull(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM example.org/x:1 AS one\nFROM example.org/x:1\nCOPY --from=example.org/x:1 /etc/passwd /p\nCOPY --from=one /etc/passwd /q\n")})
		var asked []string
		img, _ := b.rebuild(t, dir, func(o *Options) {
			o.Tags = []string{"a", "example.org/b:2"}
			o.Pull = func(ctx context.Context, ref string, _ v1.Platform, status func(string)) (*rootfs.Image, error) {
				asked = append(asked, ref)
				status("fetching \x1b[1m" + ref)
				return b.store.Image(ctx, "base")
			}
		})
		if len(asked) != 1 || asked[0] != "example.org/x:1" {
			t.Errorf("pulled %v", asked)
		}
		for _, name := range []string{"a", "docker.io/library/a:latest", "example.org/b:2"} {
			if got, err := b.store.Image(t.Context(), name); err != nil || got.Digest != img.Digest {
				t.Errorf("%s: %v %v, want %s", name, got, err, img.Digest)
			}
		}
	})
}

// warnings collects what a build warns of.
type warnings struct {
	Progress
	texts []string
}

// Warn implements Progress.
func (w *warnings) Warn(text string) { w.texts = append(w.texts, text) }

// What a base image sets is known once it is there: then the checks look at
// variables, too.
func TestChecksOfPulledBase(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM example.org/x:1\nENV A=$FOO B=$NOPE\nLABEL a=$A\n")})
		w := &warnings{Progress: silent{}}
		pulling := func(o *Options) {
			o.Progress = w
			o.Pull = func(ctx context.Context, _ string, _ v1.Platform, _ func(string)) (*rootfs.Image, error) {
				return b.store.Image(ctx, "base")
			}
		}
		img, _ := b.rebuild(t, dir, pulling)
		if len(w.texts) != 1 || !strings.Contains(w.texts[0], "UndefinedVar: Usage of undefined variable '$NOPE'") {
			t.Errorf("warned of %q", w.texts)
		}
		if got := img.Config.Config.Labels["a"]; got != "base" {
			t.Errorf("label a is %q", got)
		}
		o := b.options(dir, io.Discard)
		pulling(&o)
		o.Args = map[string]string{dockerfile.CheckArg: "error=true"}
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "lint violation found for rules: UndefinedVar") {
			t.Errorf("with error=true: %v", err)
		}
	})
}

// TestOutputIsHarmless: what a step prints cannot control the terminal.
func TestOutputIsHarmless(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte(
			"FROM base\nRUN printf \\x1b]0\\x3btitle\\a\\x1b[2J\\x1b[31mred\\xff\\n\nRUN err to-stderr && printf 10%\\r50%\\rdone\n",
		)})
		var out bytes.Buffer
		b.rebuild(t, dir, func(o *Options) { o.Progress = PlainProgress(&out) })
		if strings.ContainsAny(out.String(), "\x1b\x07\r") {
			t.Errorf("control characters in %q", out.String())
		}
		for _, want := range []string{" red\ufffd\n", " to-stderr\n", " done\n", "#2 [2/3] RUN printf"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in\n%s", want, out.String())
			}
		}
	})
}
