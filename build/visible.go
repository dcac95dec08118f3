// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import rule "github.com/claude-pocket-console/cpc/internal/visible"

// visible makes what a Dockerfile, a context or a server has written safe to
// show, on one line; bounded ends it earlier.
func visible(s string) string { return rule.Line(s) }
