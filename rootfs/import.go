// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	goruntime "runtime"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/claude-pocket-console/cpc/rootfs/layer"
)

// ImportOptions says what the image of an imported file tree is like.
type ImportOptions struct {
	// Config replaces the default configuration (PATH and a shell).
	Config *Config
	// Comment goes into the image's history.
	Comment string
	// Platform is what the files are for; the host's if nil.
	Platform *v1.Platform
	// Change, if set, alters the configuration.
	Change func(Config) (Config, error)
}

// defaultPath is the search path of an image that says none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Import makes an image of one layer from a tar stream, as it is or
// compressed with gzip, zstd or bzip2. It has no name if ref is empty. The stream is read once: it is
// unpacked, hashed and compressed at the same time.
func (s *Store) Import(ctx context.Context, r io.Reader, ref string, o ImportOptions) (_ *Image, err error) {
	var names []string
	if ref != "" {
		names = []string{ref}
	}
	cfg, err := importConfig(o)
	if err == nil {
		names, err = parseTags(names)
	}
	if err != nil {
		return nil, err
	}
	b, err := s.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	l, err := b.Tar(ctx, r)
	if errors.Is(err, layer.ErrXz) {
		err = fmt.Errorf("%w: decompress it first, as in `xz -dc FILE | cpc import - NAME`", err)
	}
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", cmp.Or(ref, "without a name"), err)
	}
	return commitImage(ctx, b, imageParts{config: cfg, layers: []LayerDescriptor{l}, names: names})
}

func importConfig(o ImportOptions) (Config, error) {
	now := time.Now().UTC()
	cfg := Config{}
	if o.Config != nil {
		cfg = *o.Config
	} else {
		cfg.Config = v1.ImageConfig{Env: []string{"PATH=" + defaultPath}, Cmd: []string{"/bin/bash"}}
	}
	if o.Platform != nil {
		cfg.Platform = *o.Platform
	}
	if cfg.Architecture == "" {
		cfg.Architecture, cfg.OS = goruntime.GOARCH, "linux"
	}
	if cfg.Created == nil {
		cfg.Created = &now
	}
	cfg.History = append(cfg.History, v1.History{Created: &now, CreatedBy: "cpc import", Comment: o.Comment})
	if o.Change != nil {
		return o.Change(cfg)
	}
	return cfg, nil
}
