// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package osv

import (
	"regexp"
	"strings"

	"github.com/claude-pocket-console/cpc/sbom"
)

var pythonSeparators = regexp.MustCompile(`[-_.]+`)

// key is a package's name as its ecosystem compares it, with the ecosystem. Both
// sides need it: databases have names as people write them, and so have packages.
func key(ecosystem, name string) string {
	base, _, _ := strings.Cut(ecosystem, ":")
	name = strings.TrimSpace(name)
	switch base {
	case "PyPI": // PEP 503: PyYAML, typing_extensions and zope.interface have several spellings
		name = strings.ToLower(pythonSeparators.ReplaceAllString(name, "-"))
	case "crates.io": // one name, whether with hyphens or underscores
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	case "npm": // letters count: JSONStream and jsonstream are two packages
		if scope, ok := strings.CutPrefix(name, "%40"); ok {
			name = "@" + scope
		}
		name = strings.Replace(name, "%2F", "/", 1)
	case "Go": // letters count; a module proxy writes an upper-case one as ! and the lower-case one
		name = unescapeModule(strings.TrimSuffix(name, "/"))
	}
	return base + "\x00" + name
}

// unescapeModule undoes the escapes of module proxies.
func unescapeModule(path string) string {
	before, after, ok := strings.Cut(path, "!")
	if !ok || after == "" {
		return path
	}
	return before + strings.ToUpper(after[:1]) + unescapeModule(after[1:])
}

// source is what advisories speak of for a package. Debian and Ubuntu sign kernels in
// source packages of their own, whose versions have another sign before the last part.
func source(p sbom.Package) (name, version string) {
	if !strings.HasPrefix(p.AdvisoryName, "linux-signed") {
		return p.AdvisoryName, p.AdvisoryVersion
	}
	version = p.AdvisoryVersion
	if at := strings.LastIndexByte(version, '+'); at > 0 && !strings.Contains(version, "-") {
		version = version[:at] + "-" + version[at+1:]
	}
	return "linux", version
}

// release is an ecosystem's name with that of its release. Ubuntu's advisories say
// which of them are supported for long, and its packages do not.
func release(ecosystem string) string {
	if strings.HasPrefix(ecosystem, "Ubuntu:") {
		return strings.TrimSuffix(ecosystem, ":LTS")
	}
	return ecosystem
}
