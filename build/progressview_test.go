// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/claude-pocket-console/cpc/build/dockerfile"
	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// The live view begins with how long the build takes and how many steps are done;
// steps that wait come after those that work, and say what they wait for.
func TestTerminalView(t *testing.T) {
	var buf bytes.Buffer
	p := &terminal{w: &buf, tally: tally{now: clock()}, TerminalOptions: TerminalOptions{Size: func() (int, int) { return 24, 60 }}}
	step := func(id int, stage, text string) Vertex {
		return Vertex{ID: id, Stage: stage, Index: id, Total: 3, All: 7, Text: text}
	}
	first, waits, reads := step(1, "app ", "FROM debian"), step(2, "app ", "COPY --from=build /bin /bin"), step(3, "build ", "COPY . /src")
	p.Start(first)
	p.Done(first, Outcome{Cached: true})
	p.Start(waits)
	p.State(waits, State{Waiting: true, Text: "stage build"})
	p.Start(reads)
	p.State(reads, State{Text: "reading files", Done: 312e6, Total: 12e8})
	lines := screen(t, buf.String(), 60)
	want := []string{
		"same [app 1/3] FROM debian  CACHED",
		"Building T (1/7 steps)",
		" ->  [build 3/3] COPY . /src  T",
		"  |  reading files: 312MB of 1.2GB",
		"wait [app 2/3] COPY --from=build …  waiting for stage build",
		"",
	}
	for i, l := range lines {
		lines[i] = seconds.ReplaceAllString(l, "T")
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	p.State(waits, State{})
	p.Done(reads, Outcome{})
	p.Done(waits, Outcome{})
	p.stop, p.stopped = make(chan struct{}), make(chan struct{})
	close(p.stopped)
	p.Close(nil)
	lines = screen(t, buf.String(), 60)
	if got := seconds.ReplaceAllString(lines[len(lines)-2], "T"); got != "Built 3 steps in T (1 cached)" || strings.Contains(strings.Join(lines, "\n"), "Building") {
		t.Errorf("at the end: %q", lines)
	}
}

// Without a terminal a step says at once what it waits for, and how much it has
// read when it has been silent for a while.
func TestPlainState(t *testing.T) {
	var buf bytes.Buffer
	at := time.Unix(0, 0)
	p := &plain{w: &buf, tally: tally{now: func() time.Time { return at }}, started: map[int]time.Time{}, said: map[int]time.Time{}}
	s := Vertex{ID: 4, Index: 2, Total: 3, All: 3, Text: "COPY --from=build . ."}
	p.Start(s)
	p.State(s, State{Waiting: true, Text: "stage build"})
	at = at.Add(time.Minute)
	p.State(s, State{})
	for range 11 { // a report a second
		at = at.Add(time.Second)
		p.State(s, State{Text: "reading files", Done: (at.Unix() - 60) * 1e9, Total: 2e10})
	}
	p.Done(s, Outcome{Elapsed: 11 * time.Second})
	p.Close(nil)
	want := `#4 [2/3] COPY --from=build . .
#4 WAITING for stage build
#4 5.000 reading files: 5GB of 20GB
#4 10.000 reading files: 10GB of 20GB
#4 DONE 11.0s
Built 1 step in 71.0s
`
	if buf.String() != want {
		t.Errorf("got\n%s\nwant\n%s", buf.String(), want)
	}
}

// Programs get the bytes that were read in BuildKit's form.
func TestJSONState(t *testing.T) {
	var buf bytes.Buffer
	p := JSONProgress(&buf)
	s := Vertex{ID: 1, Index: 1, Total: 1, Text: "COPY . ."}
	p.State(s, State{Waiting: true, Text: "stage build"})
	p.State(s, State{Text: "storing the layer"})
	p.State(s, State{Text: "reading files", Done: 5, Total: 9})
	var got solveStatus
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, buf.String())
	}
	if len(got.Statuses) != 1 || got.Statuses[0].Current != 5 || got.Statuses[0].Total != 9 || got.Statuses[0].Vertex != vertex(s) {
		t.Errorf("got %s", buf.String())
	}
}

// Of stages that start from the same image, FROM is shown once; the steps that
// were announced are those that come; what waits says so, and sizes are told.
func TestShownSteps(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		for _, platforms := range [][]v1.Platform{nil, {{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}} {
			shown := &states{}
			dir := b.context(t, txtar.File{Name: "big", Data: bytes.Repeat([]byte("x"), 9000)}, txtar.File{Name: "Dockerfile", Data: []byte(
				"FROM --platform=" + dockerfile.FormatPlatform(dockerfile.HostPlatform()) + " base AS build\nRUN sleep 1\nCOPY big /big\n" +
					"FROM --platform=" + dockerfile.FormatPlatform(dockerfile.HostPlatform()) + " base\nCOPY --from=build /big /copy\nWORKDIR /w\n")})
			o := b.options(dir, io.Discard)
			o.Progress, o.NoCache = shown, true
			steps := 5
			var err error
			if platforms == nil {
				_, err = Build(t.Context(), o)
			} else {
				steps = 9 // FROM is the same for both
				_, err = BuildAll(t.Context(), o, platforms)
			}
			if err != nil {
				t.Fatal(err)
			}
			from := 0
			for _, s := range shown.started {
				if strings.HasPrefix(s.Text, "FROM") {
					from++
				}
			}
			if last := shown.started[len(shown.started)-1]; from != 1 || len(shown.started) != steps || last.All != steps {
				t.Errorf("%d bases and %d steps shown, %d announced; want 1, %d, %d", from, len(shown.started), last.All, steps, steps)
			}
			if !shown.has("waiting for stage build") || !shown.has("reading files: 9kB of 9kB") {
				t.Errorf("the states were %q", shown.texts)
			}
		}
	})
}

// states is Progress that keeps the steps and their states.
type states struct {
	silent
	started []Vertex
	texts   []string
}

func (s *states) Start(info Vertex)           { s.started = append(s.started, info) }
func (s *states) State(_ Vertex, state State) { s.texts = append(s.texts, state.String()) }
func (s *states) has(text string) bool        { return slices.Contains(s.texts, text) }
