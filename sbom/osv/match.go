// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package osv

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/claude-pocket-console/cpc/sbom"
)

// matcher holds packages against records.
type matcher struct {
	byName   map[string][]sbom.Package // by the key of the name in advisories
	findings map[string]sbom.Finding
	problems []string
	unlisted int
}

func newMatcher(packages []sbom.Package) *matcher {
	m := &matcher{byName: map[string][]sbom.Package{}, findings: map[string]sbom.Finding{}}
	for _, p := range packages {
		if p.Ecosystem != "" && p.AdvisoryName != "" && p.AdvisoryVersion != "" {
			p.AdvisoryName, p.AdvisoryVersion = source(p)
			k := key(p.Ecosystem, p.AdvisoryName)
			m.byName[k] = append(m.byName[k], p)
		}
	}
	return m
}

// maxProblems bounds what is reported of bad records.
const maxProblems = 20

func (m *matcher) problem(format string, args ...any) {
	if len(m.problems) == maxProblems {
		m.unlisted++
		return
	}
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

// match adds the findings of one record.
func (m *matcher) match(r *Record) {
	if r.Withdrawn != nil {
		return
	}
	for _, a := range r.Affected {
		for _, p := range m.byName[key(a.Package.Ecosystem, a.Package.Name)] {
			if !covers(a.Package.Ecosystem, p.Ecosystem) {
				continue
			}
			hit, fixed, err := a.affects(p.Ecosystem, p.AdvisoryVersion)
			if err != nil {
				m.problem("%s: %s %s: %v", r.ID, p.Name, p.AdvisoryVersion, err)
				continue
			}
			if hit {
				m.add(r, a, p, fixed)
			}
		}
	}
}

func (m *matcher) add(r *Record, a Affected, p sbom.Package, fixed string) {
	severity, score := r.severity(a)
	m.findings[r.ID+"\x00"+p.PURL+"\x00"+p.Name+"\x00"+p.Version] = sbom.Finding{
		ID: r.ID, Aliases: append(slices.Clone(r.Aliases), r.Upstream...), Summary: r.Summary, Severity: severity, Score: score,
		Package: p.Name, Version: p.Version, Ecosystem: p.Ecosystem, PURL: p.PURL, Fixed: fixed,
	}
}

// result returns the findings, worst first.
func (m *matcher) result() sbom.Result {
	found := slices.SortedFunc(maps.Values(m.findings), func(a, b sbom.Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Score, a.Score),
			strings.Compare(a.Package, b.Package), strings.Compare(a.ID, b.ID), strings.Compare(a.PURL, b.PURL))
	})
	problems := m.problems
	if m.unlisted > 0 {
		problems = append(problems, fmt.Sprintf("%d more records could not be read or compared", m.unlisted))
	}
	return sbom.Result{Findings: found, Problems: problems}
}
