// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	units "github.com/docker/go-units"
	"golang.org/x/term"

	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/rootfs"
)

// A step takes this long without a word: on a terminal, and elsewhere, where a
// line remains and a script that looks at standard error finds it there.
const (
	quickly   = time.Second
	inSilence = 10 * time.Second
)

// activity says what a command does that takes more than a moment: on a terminal
// in a line that lives as long as the work, elsewhere in a line of its own for each
// step that takes longer. A nil activity says nothing.
type activity struct {
	w     io.Writer
	width func() int // of the terminal; nil without one

	mu          sync.Mutex // guards what follows, and the order of what is written
	what        string
	done, total int64
	since       time.Time
	shown       bool // on the terminal, or the step has its line
	live        bool // the terminal's line is there: later steps are shown at once

	stop chan struct{}
	over sync.WaitGroup
}

// working starts to tell of a step, unless a command is to be quiet. The caller
// ends it before anything else is printed.
func working(what string, quiet bool) *activity {
	if quiet {
		return nil
	}
	t := &activity{w: os.Stderr}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		t.width = func() int {
			if columns, _, err := term.GetSize(fd); err == nil && columns >= 20 {
				return columns
			}
			return 80
		}
	}
	t.start(what, 200*time.Millisecond)
	return t
}

func (t *activity) start(what string, often time.Duration) {
	stop := make(chan struct{})
	t.what, t.since, t.stop = what, time.Now(), stop
	t.over.Go(func() {
		ticks := time.NewTicker(often)
		defer ticks.Stop()
		for {
			select {
			case now := <-ticks.C:
				t.show(now)
			case <-stop:
				return
			}
		}
	})
}

// now says that the work has come to another step.
func (t *activity) now(what string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.what != what {
		t.what, t.since, t.shown = what, time.Now(), false
		t.done, t.total = 0, 0
	}
}

// at says how far the step is, in bytes; total is 0 if that is not known.
func (t *activity) at(done, total int64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done, t.total = done, total
}

// say prints a line.
func (t *activity) say(line string) {
	if t == nil {
		tellStderr(line)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erase()
	fmt.Fprintln(t.w, visible.Text(line))
}

// end takes the line of the terminal away. It may be called twice.
func (t *activity) end() {
	if t == nil {
		return
	}
	t.mu.Lock()
	stop := t.stop
	t.stop = nil
	t.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	t.over.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erase()
}

func (t *activity) erase() {
	if t.live {
		fmt.Fprint(t.w, "\r\x1b[K")
	}
}

// show tells of the step, if that takes long.
func (t *activity) show(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := now.Sub(t.since)
	if took < quickly && !t.live {
		return
	}
	text := visible.Line(t.what)
	if t.width == nil {
		if t.shown || took < inSilence {
			return
		}
		if t.total > 0 {
			text += " (" + units.HumanSize(float64(t.total)) + ")"
		}
		fmt.Fprintln(t.w, text)
		t.shown = true
		return
	}
	switch {
	case t.total > 0:
		text += fmt.Sprintf(": %s of %s", units.HumanSize(float64(t.done)), units.HumanSize(float64(t.total)))
	case t.done > 0:
		text += ": " + units.HumanSize(float64(t.done))
	}
	if took >= quickly {
		text += fmt.Sprintf(", %d s", int(took.Seconds()))
	}
	fmt.Fprint(t.w, "\r"+visible.Fit(text, t.width()-1)+"\x1b[K")
	t.live = true
}

// reading returns a reader that tells how much of a file has been read, and what
// is done after its end.
func (t *activity) reading(r io.Reader, then string) io.Reader {
	m := &inputMeter{Reader: r, t: t, then: then}
	if f, ok := r.(interface{ Stat() (os.FileInfo, error) }); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			m.total = st.Size()
		}
	}
	return m
}

type inputMeter struct {
	io.Reader
	t        *activity
	then     string
	n, total int64
}

// Read implements io.Reader.
func (m *inputMeter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.n += int64(n)
	m.t.at(m.n, m.total)
	if errors.Is(err, io.EOF) {
		m.t.now(m.then)
	}
	return n, err
}

// Seek implements io.Seeker, where a file can be read twice.
func (m *inputMeter) Seek(offset int64, whence int) (int64, error) {
	s, ok := m.Reader.(io.Seeker)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	n, err := s.Seek(offset, whence)
	if err == nil {
		m.n = n
	}
	return n, err
}

// writing returns a writer that tells how much has been written.
func (t *activity) writing(w io.Writer) io.Writer {
	return &outputMeter{Writer: w, t: t}
}

type outputMeter struct {
	io.Writer
	t *activity
	n int64
}

// Write implements io.Writer.
func (m *outputMeter) Write(p []byte) (int, error) {
	n, err := m.Writer.Write(p)
	m.n += int64(n)
	m.t.at(m.n, 0)
	return n, err
}

// unpacking returns what tells of layers that are unpacked: of all of them as
// one step.
func (t *activity) unpacking() func(rootfs.Event) {
	var sum rootfs.Unpacking
	return func(e rootfs.Event) { t.step(sum.Add(e)) }
}

// step is now and at in one.
func (t *activity) step(what string, done, total int64) {
	t.now(what)
	t.at(done, total)
}
