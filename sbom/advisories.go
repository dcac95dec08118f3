// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// Advisories says which advisories to go by.
type Advisories struct {
	// Dir is where copies of what is fetched are kept.
	Dir string
	// From are files and directories in the OSV format, and the URL of a mirror. Without
	// any it is Source.
	From    []string
	Offline bool          // nothing is fetched
	MaxAge  time.Duration // of a copy; 0 is any
	Tell    func(string)  // if set, is told what is fetched
}

// IsURL reports whether an entry of From is a mirror.
func IsURL(from string) bool {
	u, err := url.Parse(from)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http")
}

// Files returns the files to look in, and fetches those that are to be fetched.
func (a Advisories) Files(ctx context.Context, ecosystems []string) ([]string, error) {
	var paths []string
	for _, db := range a.From {
		if !IsURL(db) {
			paths = append(paths, db)
		}
	}
	if len(a.From) > 0 && len(paths) == len(a.From) {
		return paths, nil
	}
	source, dir := Source, a.Dir
	for _, db := range a.From {
		if IsURL(db) {
			source, dir = db, filepath.Join(a.Dir, url.PathEscape(db))
		}
	}
	m := Mirror{Dir: dir, Source: source, Tell: a.Tell}
	for _, e := range ecosystems {
		path, err := m.Path(e)
		if err != nil {
			return nil, err
		}
		age, err := m.Age(e)
		missing := errors.Is(err, fs.ErrNotExist)
		if err != nil && !missing {
			return nil, err
		}
		switch {
		case a.Offline && missing:
			continue // reported as unchecked
		case !a.Offline && (missing || a.MaxAge > 0 && age > a.MaxAge):
			if err := m.Update(ctx, e); err != nil {
				return nil, notFetched(err, missing)
			}
		}
		paths = append(paths, path)
	}
	if len(paths) == 0 && len(ecosystems) > 0 {
		return nil, fmt.Errorf("%w for %s in %s", ErrNoAdvisories, strings.Join(ecosystems, ", "), dir)
	}
	return paths, nil
}

// advisoriesHint says how to scan without a network.
const advisoriesHint = "Without a network, download " + Source + `/ECOSYSTEM/all.zip
on a machine that has one (ECOSYSTEM is Debian, PyPI, npm, Go, ...) and use the files:
  cpc scan --db Debian.zip --db PyPI.zip IMAGE
Or use a mirror with the same paths:
  cpc scan --db https://MIRROR IMAGE
See docs/sbom.md.`

// Advisories that cannot be fetched.
var (
	// ErrNotFetched: there are none yet.
	ErrNotFetched = hint.New("the advisories cannot be fetched",
		advisoriesHint)
	// ErrNotFetchedAgain: there are old ones. It is ErrNotFetched, too.
	ErrNotFetchedAgain = hint.Beside(fmt.Errorf("%w again", ErrNotFetched),
		"Use the old ones with: cpc scan --offline --max-age 0 IMAGE\n"+advisoriesHint)
)

func notFetched(err error, missing bool) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case missing:
		return fmt.Errorf("%w: %w", ErrNotFetched, err)
	}
	return fmt.Errorf("%w: %w", ErrNotFetchedAgain, err)
}

// ErrNoAdvisories reports that nothing can be said of an image.
var ErrNoAdvisories = hint.New("no advisories",
	"Run once without --offline to download them, or use --db PATH.")

// ErrOldAdvisories reports advisories that are too old to go by.
var ErrOldAdvisories = hint.New("the advisories are too old",
	"Download them again, or accept them as they are with: --max-age 0")

// CheckAge refuses a result that comes of advisories that are too old.
func (a Advisories) CheckAge(r *Result) error {
	if age := time.Since(r.Oldest); a.MaxAge > 0 && age > a.MaxAge {
		return fmt.Errorf("%w: %s old, the limit is %s", ErrOldAdvisories, age.Round(time.Hour), a.MaxAge)
	}
	return nil
}
