// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package sbom says what software an image contains, and what is known of it:
// bills of materials (SPDX, CycloneDX) and security advisories (OSV).
//
// Theory of operation: both read what strangers wrote, files of images and
// records of advisories, with large libraries. So that is done by a program of
// its own, cpc-scan, which [Program] starts with a request on its standard
// input and which answers on its standard output. Before it looks at anything
// it gives up (landlock, no-new-privs, limits) all but reading what the request
// names: what goes wrong in there costs the answer. This package is the side of
// cpc, and links none of it; inventory and osv below it are cpc-scan's.
package sbom

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Media types of the documents.
const (
	SPDXType      = "application/spdx+json"
	CycloneDXType = "application/vnd.cyclonedx+json"
)

// Package is one piece of software in an image.
type Package struct {
	// Name and Version are those it was installed by.
	Name    string `json:"name"`
	Version string `json:"version"`
	// PURL is its package URL.
	PURL string `json:"purl,omitempty"`
	// Ecosystem is the one that OSV's advisories name ("Debian:13", "npm");
	// empty where OSV has none.
	Ecosystem string `json:"ecosystem,omitempty"`
	// AdvisoryName and AdvisoryVersion are those that advisories of the
	// ecosystem speak of: the source package's, for Debian and Alpine.
	AdvisoryName    string   `json:"advisoryName,omitempty"`
	AdvisoryVersion string   `json:"advisoryVersion,omitempty"`
	Licenses        []string `json:"licenses,omitempty"`
	// Locations are the files that it was read from, relative to the root.
	Locations []string `json:"locations,omitempty"`
}

// Inventory is the software of one image.
type Inventory struct {
	// Packages are in a fixed order: the same image gives the same inventory.
	Packages []Package `json:"packages"`
	// Notes say what could not be read.
	Notes []string `json:"notes,omitempty"`
}

// Subject is the image that a document is about.
type Subject struct {
	Name    string    `json:"name"`    // as people name it; the digest if it has no name
	Digest  string    `json:"digest"`  // of its manifest, ALGORITHM:HEX
	Created time.Time `json:"created"` // the image, and so its documents
	Tool    string    `json:"tool"`    // that wrote the document, "cpc-VERSION"
}

// Severity is how bad an advisory is, in CVSS's words.
type Severity int

// The severities, in order.
const (
	Unknown Severity = iota
	None
	Low
	Medium
	High
	Critical
)

func severityNames() []string {
	return []string{"unknown", "none", "low", "medium", "high", "critical"}
}

func (s Severity) String() string {
	if names := severityNames(); s >= 0 && int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("Severity(%d)", int(s))
}

// MarshalText writes the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word.
func (s *Severity) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSeverity(string(text))
	return err
}

// ParseSeverity reads a severity as people type it.
func ParseSeverity(word string) (Severity, error) {
	i := slices.Index(severityNames(), strings.ToLower(word))
	if i < 0 {
		return 0, fmt.Errorf("severity %q: choose %s", word, strings.Join(severityNames(), ", "))
	}
	return Severity(i), nil
}

// Finding is one advisory that holds for one package.
type Finding struct {
	ID       string   `json:"id"`
	Aliases  []string `json:"aliases,omitempty"`
	Summary  string   `json:"summary,omitempty"`
	Severity Severity `json:"severity"`
	// Score is CVSS's base score; 0 where there is none.
	Score     float64 `json:"score,omitempty"`
	Package   string  `json:"package"`
	Version   string  `json:"version"`
	Ecosystem string  `json:"ecosystem"`
	PURL      string  `json:"purl,omitempty"`
	// Fixed is the first version without it; empty if there is none yet.
	Fixed string `json:"fixed,omitempty"`
}

// Result is what advisories say about packages.
type Result struct {
	// Findings are in order of severity, worst first.
	Findings []Finding `json:"findings"`
	// Records is how many advisories were looked at.
	Records int `json:"records"`
	// Problems are records that could not be read, or versions that could not
	// be compared: for these nobody knows.
	Problems []string `json:"problems,omitempty"`
	// Unchecked are ecosystems of which there are packages and no advisory at
	// all: nothing is known about those.
	Unchecked []string `json:"unchecked,omitempty"`
	// Oldest is when the oldest file of the advisories was written.
	Oldest time.Time `json:"oldest"`
}

// Ecosystems returns the ecosystems that packages are of, without releases
// ("Debian" for "Debian:13"), sorted.
func Ecosystems(packages []Package) []string {
	var all []string
	for _, p := range packages {
		if base, _, _ := strings.Cut(p.Ecosystem, ":"); base != "" {
			all = append(all, base)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
