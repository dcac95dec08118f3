// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer/specconv"
)

// WriteExample writes a config.json for trying things out into dir ("" is the
// current directory). An existing one is not touched.
func WriteExample(dir string, rootless bool) (err error) {
	spec := specconv.Example()
	spec.Hostname = "cpc"
	if rootless {
		specconv.ToRootless(spec)
	}
	data, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	path := filepath.Join(dir, configFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("spec: File %s exists. Remove it first", path)
	}
	if err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	return nil
}
