// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package beside finds the other programs of cpc, which are installed in the
// directory of the one that runs.
package beside

import (
	"os"
	"os/exec"
	"path/filepath"
)

// Find returns the absolute path of a program beside this one or, if there is
// none, in PATH. The error is exec.ErrNotFound then.
func Find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
