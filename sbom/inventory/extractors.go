// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/gobinary"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagejson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargoauditable"
	"github.com/google/osv-scalibr/extractor/filesystem/os/apk"
	apkmeta "github.com/google/osv-scalibr/extractor/filesystem/os/apk/metadata"
	"github.com/google/osv-scalibr/extractor/filesystem/os/dpkg"
	dpkgmeta "github.com/google/osv-scalibr/extractor/filesystem/os/dpkg/metadata"
	"github.com/google/osv-scalibr/log"
	"github.com/google/osv-scalibr/purl"

	"github.com/claude-pocket-console/cpc/sbom"
)

// newExtractors returns the extractors for what images of this kind hold: only
// these, since each further one is more code over hostile files.
func newExtractors() ([]filesystem.Extractor, error) {
	var all []filesystem.Extractor
	for _, create := range []func(*cpb.PluginConfig) (filesystem.Extractor, error){
		dpkg.New, apk.New, newWheels, packagejson.New, gobinary.New, cargoauditable.New,
	} {
		e, err := create(&cpb.PluginConfig{})
		if err != nil {
			return nil, fmt.Errorf("extractor: %w", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// convert keeps what matters of a package that an extractor found.
func convert(p *extractor.Package) sbom.Package {
	q := sbom.Package{
		Name: p.Name, Version: p.Version, Ecosystem: p.Ecosystem().String(), Licenses: p.Licenses,
		AdvisoryName: p.Name, AdvisoryVersion: p.Version,
	}
	if u := p.PURL(); u != nil {
		if p.PURLType == purl.TypeNPM {
			u.Qualifiers = nil // where it came from, which files do not tell
		}
		q.PURL = u.String()
	}
	switch m := p.Metadata.(type) {
	case *dpkgmeta.Metadata:
		if m.SourceName != "" {
			q.AdvisoryName = m.SourceName
		}
		if m.SourceVersion != "" {
			q.AdvisoryVersion = m.SourceVersion
		}
	case *apkmeta.Metadata:
		if m.OriginName != "" {
			q.AdvisoryName = m.OriginName
		}
	}
	switch {
	case p.PURLType == purl.TypePyPi:
		q.AdvisoryName = pypiName(p.Name)
	case p.PURLType == purl.TypeGolang && p.Name == "go":
		q.AdvisoryName = "stdlib" // as Go's advisories call what the toolchain links
	}
	return q
}

var pypiSeparators = regexp.MustCompile(`[-_.]+`)

// pypiName is the name as Python's index compares it (PEP 503).
func pypiName(name string) string {
	return strings.ToLower(pypiSeparators.ReplaceAllString(name, "-"))
}

// silence keeps scalibr from writing to standard error what hostile files make
// it say; extractors' errors become notes.
var silence = sync.OnceFunc(func() { log.SetLogger(mute{}) })

type mute struct{}

func (mute) Errorf(string, ...any) {}
func (mute) Error(...any)          {}
func (mute) Warnf(string, ...any)  {}
func (mute) Warn(...any)           {}
func (mute) Infof(string, ...any)  {}
func (mute) Info(...any)           {}
func (mute) Debugf(string, ...any) {}
func (mute) Debug(...any)          {}
