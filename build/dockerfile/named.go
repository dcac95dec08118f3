// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"strings"

	"github.com/distribution/reference"
)

// Context is what a --build-context NAME stands for, in place of a stage or an
// image of that name: a directory or an image.
type Context struct {
	// Dir is a directory on this machine.
	Dir string
	// Image is the name of an image; "" where Dir is set.
	Image string
}

// named looks for a context of that name. An image's name matches in any of
// its forms: alpine, alpine:latest and docker.io/library/alpine are one.
func (p *Plan) named(name string) (Origin, bool) {
	if name == "" || len(p.contexts) == 0 {
		return Origin{}, false
	}
	for _, form := range contextNames(name) {
		c, ok := p.contexts[form]
		if !ok {
			continue
		}
		if c.Image != "" {
			return Origin{Kind: FromImage, Image: c.Image}, true
		}
		return Origin{Kind: FromNamed, Name: form}, true
	}
	return Origin{}, false
}

// contextNames are the names under which a context may be given for name.
func contextNames(name string) []string {
	lower := strings.ToLower(name)
	out := []string{name, lower}
	ref, err := reference.ParseNormalizedNamed(lower)
	if err != nil {
		return out
	}
	tagged := reference.TagNameOnly(ref)
	out = append(out, tagged.String(), reference.FamiliarString(tagged))
	if strings.HasSuffix(tagged.String(), ":latest") {
		out = append(out, ref.Name(), reference.FamiliarName(ref))
	}
	return out
}
