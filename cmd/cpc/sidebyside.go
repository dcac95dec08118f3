// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
)

// atOnce is how many sandboxes one command works on at a time. Most of that is
// waiting for their monitors.
const atOnce = 32

// outcome is what doing something to one sandbox has come to.
type outcome struct {
	done chan struct{} // closed once the rest is there
	line string
	err  error
}

// sideBySide calls do for every name, many at a time, and prints what it returns
// in the order of the names; errors do not keep it from the rest. A name that is
// there twice is done twice, one after the other.
func sideBySide(w io.Writer, names []string, do func(name string) (line string, err error)) error {
	all := make([]*outcome, len(names))
	for i := range all {
		all[i] = &outcome{done: make(chan struct{})}
	}
	go begin(all, names, do)
	var failed error
	for _, o := range all {
		<-o.done
		if o.err != nil {
			failed = errors.Join(failed, o.err)
			continue
		}
		if _, err := fmt.Fprintln(w, o.line); err != nil {
			return err
		}
	}
	return failed
}

func begin(all []*outcome, names []string, do func(name string) (line string, err error)) {
	places := make(chan struct{}, atOnce)
	last := map[string]*outcome{}
	for i, o := range all {
		name := names[i]
		before := last[name]
		last[name] = o
		places <- struct{}{}
		go func() {
			if before != nil {
				<-before.done // begun earlier, so it has a place
			}
			o.line, o.err = do(name)
			close(o.done)
			<-places
		}()
	}
}
