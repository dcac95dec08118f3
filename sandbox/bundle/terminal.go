// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"path"
	"regexp"
	"slices"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
)

// Terminal is what a program is told about its terminal. The zero value is a simple one.
type Terminal struct {
	Term      string `json:"term,omitempty"`      // TERM
	ColorTerm string `json:"colorTerm,omitempty"` // COLORTERM
}

// DefaultTerm is TERM where nothing better is known. Every system has it.
const DefaultTerm = "xterm"

var termName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$`)

// KnownTerminal returns the caller's terminal if the image knows it, and the zero value
// if not: with a TERM that they do not know, programs refuse to draw.
func KnownTerminal(root string, t Terminal) Terminal {
	if !termName.MatchString(t.Term) || !slices.ContainsFunc(terminfo(t.Term), func(file string) bool { return exists(root, file) }) {
		return Terminal{}
	}
	if t.ColorTerm != "truecolor" && t.ColorTerm != "24bit" {
		t.ColorTerm = ""
	}
	return t
}

// terminfo are the files that can describe a terminal, see terminfo(5).
func terminfo(term string) (files []string) {
	for _, dir := range []string{"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo"} {
		files = append(files, path.Join(dir, term[:1], term))
	}
	return files
}

// exists follows links as they lead in the sandbox. Nothing is opened but the path.
func exists(root, name string) bool {
	f, err := pathrs.OpenInRoot(root, name)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// env is what a program with a terminal has of it.
func (t Terminal) env() []string {
	if t.Term == "" {
		return []string{"TERM=" + DefaultTerm}
	}
	env := []string{"TERM=" + t.Term}
	if t.ColorTerm != "" {
		env = append(env, "COLORTERM="+t.ColorTerm)
	}
	return env
}
