// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package osv matches packages against advisories in the OSV format
// (https://ossf.github.io/osv-schema/), from files: no query ever leaves the
// machine, so that nobody learns what an image contains.
//
// Theory of operation: a database is a file or a directory of records: JSON,
// or zip archives of them as osv.dev publishes for each ecosystem. Records are
// read one after the other and matched at once, so that memory is bounded by
// one record and the findings. A record that cannot be read is counted and
// reported, never passed over in silence. Records come from whoever runs the
// mirror: number and size are bounded.
package osv

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/osv-scalibr/semantic"
)

// Record is one advisory, as far as it is used here.
type Record struct {
	ID               string     `json:"id"`
	Modified         time.Time  `json:"modified"`
	Withdrawn        *time.Time `json:"withdrawn"`
	Aliases          []string   `json:"aliases"`
	Upstream         []string   `json:"upstream"`
	Summary          string     `json:"summary"`
	Severity         []Score    `json:"severity"`
	Affected         []Affected `json:"affected"`
	DatabaseSpecific specific   `json:"database_specific"`
}

// Score is a severity in the notation that Type names (CVSS_V3, …).
type Score struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// Affected says which versions of one package an advisory is about.
type Affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Severity          []Score  `json:"severity"`
	Ranges            []Range  `json:"ranges"`
	Versions          []string `json:"versions"`
	EcosystemSpecific specific `json:"ecosystem_specific"`
	DatabaseSpecific  specific `json:"database_specific"`
}

// specific are the fields of free form that state a severity in one word.
type specific struct {
	Severity string `json:"severity"`
	Urgency  string `json:"urgency"`
}

// UnmarshalJSON takes what is there and is text; the rest is nobody's promise.
func (s *specific) UnmarshalJSON(data []byte) error {
	var loose struct {
		Severity any `json:"severity"`
		Urgency  any `json:"urgency"`
	}
	if json.Unmarshal(data, &loose) == nil {
		s.Severity, _ = loose.Severity.(string)
		s.Urgency, _ = loose.Urgency.(string)
	}
	return nil
}

// Range are versions between events.
type Range struct {
	Type   string  `json:"type"`
	Events []Event `json:"events"`
}

// Event is a version at which something changes; one field is set.
type Event struct {
	Introduced   string `json:"introduced,omitempty"`
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"last_affected,omitempty"`
	Limit        string `json:"limit,omitempty"`
}

// version is the one that the event names.
func (e Event) version() string {
	return e.Introduced + e.Fixed + e.LastAffected + e.Limit
}

// Bounds of one record.
const (
	maxRecord = 32 << 20
	maxEvents = 10_000
)

// parseRecord reads one advisory.
func parseRecord(data []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.ID == "" {
		return nil, errors.New("no id: not an OSV record")
	}
	for _, a := range r.Affected {
		for _, g := range a.Ranges {
			if len(g.Events) > maxEvents {
				return nil, fmt.Errorf("%s: %d events in a range: at most %d are read", r.ID, len(g.Events), maxEvents)
			}
		}
	}
	return &r, nil
}

// covers reports whether the ecosystem of an advisory holds for that of a
// package: "Debian" holds for "Debian:13", "Debian:12" does not.
func covers(advisory, pkg string) bool {
	base, _, _ := strings.Cut(pkg, ":")
	return release(advisory) == release(pkg) || advisory == base
}

// compare orders two versions as the ecosystem does; "0" is before all others.
func compare(ecosystem, a, b string) (int, error) {
	switch {
	case a == b:
		return 0, nil
	case a == "0":
		return -1, nil
	case b == "0":
		return 1, nil
	}
	v, err := semantic.Parse(a, ecosystem)
	if err != nil {
		return 0, err
	}
	return v.CompareStr(b)
}

// affects reports whether version is affected, and the lowest version after it
// that mends it.
func (a Affected) affects(ecosystem, version string) (hit bool, fixed string, err error) {
	hit = slices.ContainsFunc(a.Versions, func(v string) bool {
		if v == version {
			return true
		}
		c, err := compare(ecosystem, version, v)
		return err == nil && c == 0 // 1.0 is 1.0.0, for Python
	})
	for _, r := range a.Ranges {
		if r.Type != "ECOSYSTEM" && r.Type != "SEMVER" { // commits tell nothing of packages
			continue
		}
		in, next, err := r.contains(ecosystem, version)
		if err != nil {
			return hit, fixed, err
		}
		hit = hit || in
		if fixed == "" {
			fixed = next
		}
	}
	return hit, fixed, nil
}

// contains evaluates the events as the schema's page has it: in the order of
// their versions, each turns "affected" on or off. It also returns the first
// version after this one that is a fix.
func (r Range) contains(ecosystem, version string) (affected bool, fixed string, err error) {
	events, err := r.sorted(ecosystem)
	if err != nil {
		return false, "", err
	}
	for _, e := range events {
		c, err := compare(ecosystem, version, e.version())
		if err != nil {
			return false, "", err
		}
		switch {
		case e.Introduced != "" && c >= 0:
			affected = true
		case (e.Fixed != "" || e.Limit != "") && c >= 0, e.LastAffected != "" && c > 0:
			affected = false
		case e.Fixed != "" && fixed == "":
			fixed = e.Fixed
		}
	}
	return affected, fixed, nil
}

// sorted returns the events in order; of events at one version, what ends a
// range comes before what begins the next.
func (r Range) sorted(ecosystem string) ([]Event, error) {
	events := slices.DeleteFunc(slices.Clone(r.Events), func(e Event) bool { return e.version() == "" || e.Limit == "*" })
	var failed error
	slices.SortStableFunc(events, func(a, b Event) int {
		c, err := compare(ecosystem, a.version(), b.version())
		failed = errors.Join(failed, err)
		switch {
		case c != 0:
			return c
		case a.Introduced == "" && b.Introduced != "":
			return -1
		case a.Introduced != "" && b.Introduced == "":
			return 1
		}
		return 0
	})
	return events, failed
}
