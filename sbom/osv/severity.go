// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package osv

import (
	"cmp"
	"slices"
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"

	"github.com/claude-pocket-console/cpc/sbom"
)

// severity is the worst that the advisory states about the package: by scores,
// else by words.
func (r *Record) severity(a Affected) (sbom.Severity, float64) {
	worst := 0.0
	known := false
	for _, s := range append(slices.Clone(a.Severity), r.Severity...) {
		if score, ok := s.value(); ok {
			worst, known = max(worst, score), true
		}
	}
	if known {
		return rate(worst), worst
	}
	return word(cmp.Or(a.EcosystemSpecific.Severity, a.EcosystemSpecific.Urgency, a.DatabaseSpecific.Severity,
		a.DatabaseSpecific.Urgency, r.DatabaseSpecific.Severity)), 0
}

// rate is CVSS's qualitative scale.
func rate(score float64) sbom.Severity {
	switch {
	case score >= 9:
		return sbom.Critical
	case score >= 7:
		return sbom.High
	case score >= 4:
		return sbom.Medium
	case score > 0:
		return sbom.Low
	}
	return sbom.None
}

// word reads what databases say instead of a score: GitHub's, Debian's,
// Ubuntu's words.
func word(w string) sbom.Severity {
	switch strings.ToLower(w) {
	case "critical":
		return sbom.Critical
	case "high", "important":
		return sbom.High
	case "medium", "moderate":
		return sbom.Medium
	case "low", "minor":
		return sbom.Low
	case "negligible", "unimportant", "none":
		return sbom.None
	}
	return sbom.Unknown
}

// value is the base score.
func (s Score) value() (float64, bool) {
	switch {
	case strings.HasPrefix(s.Score, "CVSS:4.0/"):
		if v, err := gocvss40.ParseVector(s.Score); err == nil {
			return v.Score(), true
		}
	case strings.HasPrefix(s.Score, "CVSS:3.1/"):
		if v, err := gocvss31.ParseVector(s.Score); err == nil {
			return v.BaseScore(), true
		}
	case strings.HasPrefix(s.Score, "CVSS:3.0/"):
		if v, err := gocvss30.ParseVector(s.Score); err == nil {
			return v.BaseScore(), true
		}
	case s.Type == "CVSS_V2":
		if v, err := gocvss20.ParseVector(s.Score); err == nil {
			return v.BaseScore(), true
		}
	case s.Type == "Ubuntu":
		switch word(s.Score) {
		case sbom.Critical:
			return 9, true
		case sbom.High:
			return 7, true
		case sbom.Medium:
			return 4, true
		case sbom.Low:
			return 0.1, true
		case sbom.None:
			return 0, true
		case sbom.Unknown:
		}
	}
	return 0, false
}
