// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/claude-pocket-console/cpc/internal/atomicfile"
)

// Source is where osv.dev publishes its advisories, an archive an ecosystem:
// https://google.github.io/osv.dev/data/#data-dumps.
const Source = "https://osv-vulnerabilities.storage.googleapis.com"

// maxArchive bounds a download: the largest of osv.dev's is some hundred MB.
const maxArchive = 4 << 30

// Mirror keeps a copy of advisories: DIR/ECOSYSTEM.zip.
type Mirror struct {
	Dir    string
	Source string       // base URL; ECOSYSTEM/all.zip is below it
	Client *http.Client // nil: http.DefaultClient
	// Tell, if set, is told what is fetched.
	Tell func(string)
}

var ecosystemName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9. -]*$`)

// Path returns where the advisories of an ecosystem are kept.
func (m Mirror) Path(ecosystem string) (string, error) {
	if !ecosystemName.MatchString(ecosystem) {
		return "", fmt.Errorf("ecosystem %q: not a name", ecosystem)
	}
	return filepath.Join(m.Dir, ecosystem+".zip"), nil
}

// Age returns how old the copy of an ecosystem is. The error is fs.ErrNotExist
// where there is none.
func (m Mirror) Age(ecosystem string) (time.Duration, error) {
	path, err := m.Path(ecosystem)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return time.Since(info.ModTime()), nil
}

// Update fetches the advisories of an ecosystem anew where they have changed.
// The old copy stays until the new one is whole.
func (m Mirror) Update(ctx context.Context, ecosystem string) error {
	path, err := m.Path(ecosystem)
	if err != nil {
		return err
	}
	from, err := url.JoinPath(m.Source, url.PathEscape(ecosystem), "all.zip")
	if err != nil {
		return fmt.Errorf("advisories: %w", err)
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return err
	}
	if m.Tell != nil {
		m.Tell("fetching " + from)
	}
	err = atomicfile.Replace(path, atomicfile.Options{}, func(f *os.File) error { return m.fetch(ctx, from, path, f) })
	if errors.Is(err, errUnchanged) {
		now := time.Now()
		return os.Chtimes(path, now, now)
	}
	if err != nil {
		return fmt.Errorf("advisories %s: %w", from, err)
	}
	return nil
}

// errUnchanged says that what there is is as new as the server's.
var errUnchanged = errors.New("not changed")

// fetch writes the archive to tmp. The error is errUnchanged if the server says
// that have is as new.
func (m Mirror) fetch(ctx context.Context, from, have string, tmp *os.File) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	if info, err := os.Stat(have); err == nil {
		req.Header.Set("If-Modified-Since", info.ModTime().UTC().Format(http.TimeFormat))
	}
	client := m.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return errUnchanged
	case http.StatusOK:
	default:
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	n, err := io.Copy(tmp, io.LimitReader(resp.Body, maxArchive+1))
	if err != nil {
		return err
	}
	if n > maxArchive {
		return fmt.Errorf("more than %d bytes", int64(maxArchive))
	}
	if _, err := zip.NewReader(tmp, n); err != nil {
		return fmt.Errorf("not a zip archive: %w", err)
	}
	return nil
}
