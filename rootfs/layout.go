// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// packLayout writes an OCI image layout's files, and no others, as a tar. The
// directory is another program's: links in it stay inside of it.
func packLayout(root *os.Root, w io.Writer) error {
	if _, err := root.Stat(v1.ImageLayoutFile); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no file %s in the directory", ErrNoArchive, v1.ImageLayoutFile)
	} else if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := packLayoutFiles(tw, root, true); err != nil {
		return err
	}
	return tw.Close()
}

// packLayoutFiles writes the layout's files, with its index or without.
func packLayoutFiles(tw *tar.Writer, root *os.Root, index bool) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if (name != v1.ImageIndexFile || !index) && name != v1.ImageLayoutFile && !strings.HasPrefix(name, v1.ImageBlobsDir+"/sha256/") {
			return nil
		}
		return packFile(tw, root, name)
	})
}

func packFile(tw *tar.Writer, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a file", name)
	}
	if err == nil {
		err = tarTarget{tw}.file(name, st.Size(), f)
	}
	return errors.Join(err, f.Close())
}
