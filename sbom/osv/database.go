// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package osv

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/claude-pocket-console/cpc/sbom"
)

// maxRecords bounds a database.
const maxRecords = 5_000_000

// ErrEmpty reports a database without an advisory.
var ErrEmpty = errors.New("no advisory in it")

// Match holds packages against the advisories in the files and directories of
// paths: *.json (a record, a list of records, or an object with a list "vulns")
// and *.zip with such files.
func Match(ctx context.Context, packages []sbom.Package, paths ...string) (sbom.Result, error) {
	r := &reader{m: newMatcher(packages), ecosystems: map[string]bool{}}
	for _, path := range paths {
		if err := r.walk(ctx, path); err != nil {
			return sbom.Result{}, fmt.Errorf("advisories %s: %w", path, err)
		}
	}
	if r.records == 0 {
		return sbom.Result{}, fmt.Errorf("advisories %s: %w", strings.Join(paths, ", "), ErrEmpty)
	}
	result := r.m.result()
	result.Records, result.Oldest = r.records, r.oldest
	for _, e := range sbom.Ecosystems(packages) {
		if !r.ecosystems[e] {
			result.Unchecked = append(result.Unchecked, e)
		}
	}
	return result, nil
}

// reader goes through a database.
type reader struct {
	m       *matcher
	records int
	oldest  time.Time
	// ecosystems are those, without releases, that advisories are about.
	ecosystems map[string]bool
}

func (r *reader) walk(ctx context.Context, path string) error {
	return filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		switch filepath.Ext(path) {
		case ".zip":
			err = r.zip(ctx, path)
		case ".json":
			err = r.json(path)
		default:
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		info, err := os.Stat(path)
		if err == nil && (r.oldest.IsZero() || info.ModTime().Before(r.oldest)) {
			r.oldest = info.ModTime()
		}
		return err
	})
}

func (r *reader) json(path string) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	return r.document(data, path)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(from io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxRecord+1))
	if err == nil && len(data) > maxRecord {
		err = fmt.Errorf("more than %d bytes", maxRecord)
	}
	return data, err
}

// zip reads an archive as osv.dev publishes it. One bad record is a problem of
// its own, a bad archive is an error.
func (r *reader) zip(ctx context.Context, path string) (err error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	for _, entry := range archive.File {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !strings.HasSuffix(entry.Name, ".json") {
			continue
		}
		data, err := readEntry(entry)
		if err != nil {
			return fmt.Errorf("%q: %w", entry.Name, err)
		}
		if err := r.document(data, entry.Name); err != nil {
			if errors.Is(err, errTooMany) {
				return err
			}
			r.m.problem("%q: %v", entry.Name, err)
		}
	}
	return nil
}

func readEntry(entry *zip.File) (data []byte, err error) {
	f, err := entry.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readBounded(f)
}

var errTooMany = fmt.Errorf("more than %d records", maxRecords)

// document matches the records of one JSON document.
func (r *reader) document(data []byte, name string) error {
	records, err := split(data)
	if err != nil {
		return err
	}
	for _, raw := range records {
		if r.records++; r.records > maxRecords {
			return errTooMany
		}
		record, err := parseRecord(raw)
		if err != nil {
			r.m.problem("%q: %v", name, err)
			continue
		}
		for _, a := range record.Affected {
			base, _, _ := strings.Cut(a.Package.Ecosystem, ":")
			r.ecosystems[base] = true
		}
		r.m.match(record)
	}
	return nil
}

// split returns the records of a document: itself, or those of its list.
func split(data []byte) ([]json.RawMessage, error) {
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("[")) {
		var list []json.RawMessage
		err := json.Unmarshal(data, &list)
		return list, err
	}
	var head struct {
		ID    string            `json:"id"`
		Vulns []json.RawMessage `json:"vulns"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	if head.ID == "" && head.Vulns == nil {
		return nil, errors.New("neither an OSV record nor a list of them")
	}
	if head.ID == "" {
		return head.Vulns, nil
	}
	return []json.RawMessage{data}, nil
}
