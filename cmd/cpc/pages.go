// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var pageName = regexp.MustCompile(`\bdocs/[a-z-]+\.md\b`)

// findable returns the text of a hint with the pages of documentation named by where
// they are installed, PREFIX/share/doc/cpc. In a source tree they are in docs/.
func findable(text string) string {
	self, err := os.Executable()
	if err != nil {
		return text
	}
	return findableIn(filepath.Join(filepath.Dir(self), "..", "share/doc/cpc"), text)
}

func findableIn(dir, text string) string {
	return pageName.ReplaceAllStringFunc(text, func(name string) string {
		installed := filepath.Join(dir, strings.TrimPrefix(name, "docs/"))
		if _, err := os.Stat(installed); err != nil {
			return name
		}
		return installed
	})
}
