// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// maxShort is how long a line of the first events may be with all that a
// sandbox's labels make of it. A longer one keeps the image and the name.
const maxShort = 4 << 10

// few collects the first events of each sandbox, and its removal.
type few struct {
	most  int
	count map[string]int  // lines of a sandbox
	gone  map[string]bool // sandboxes that were removed
	has   map[mark]bool
	lines []fewLine
	size  int
}

type fewLine struct {
	id   string
	text []byte
}

// mark tells events apart.
type mark struct {
	id, action string
	at         int64
}

func (f *few) add(e Event) error {
	m := mark{e.ID, e.Action, e.TimeNano}
	if e.Action == "destroy" {
		f.gone[e.ID] = true
	} else if f.count[e.ID] >= f.most {
		return nil
	}
	if f.has[m] { // a change of files was broken off, and is made again
		return nil
	}
	line, err := json.Marshal(e)
	if err == nil && len(line) > maxShort {
		a := e.Actor.Attributes
		e.Actor.Attributes = map[string]string{"image": a["image"], "name": a["name"]}
		line, err = json.Marshal(e)
	}
	if err != nil {
		return err
	}
	f.has[m] = true
	f.count[e.ID]++
	f.lines = append(f.lines, fewLine{e.ID, append(line, '\n')})
	f.size += len(line) + 1
	return nil
}

// fit drops the oldest lines until the rest fits: those of sandboxes that were
// removed before those of others.
func (f *few) fit(most int) {
	for _, which := range []func(string) bool{func(id string) bool { return f.gone[id] }, func(string) bool { return true }} {
		kept := f.lines[:0]
		for _, l := range f.lines {
			if f.size > most && which(l.id) {
				f.size -= len(l.text)
				continue
			}
			kept = append(kept, l)
		}
		f.lines = kept
	}
}

// keepFew puts the first events of each sandbox in the former file, which is about
// to go, into the first file. The current file must be locked.
func (j Journal) keepFew() error {
	f := &few{most: j.Few, count: map[string]int{}, gone: map[string]bool{}, has: map[mark]bool{}}
	for _, name := range []string{first, former} {
		file, err := ownfile.Open(filepath.Join(j.Dir, name))
		if errors.Is(err, fs.ErrNotExist) || ownfile.IsStray(err) { // which is no journal, and is replaced
			continue
		}
		if err != nil {
			return err
		}
		r := &reader{dir: j.Dir}
		r.open(file)
		if err := errors.Join(r.rest(f.add), r.close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	f.fit(int(j.Max / partFew))
	o := atomicfile.Options{Volatile: true} // as the journal, which is not synced
	return atomicfile.Replace(filepath.Join(j.Dir, first), o, func(file *os.File) error {
		for _, l := range f.lines {
			if _, err := file.Write(l.text); err != nil {
				return err
			}
		}
		return nil
	})
}
