// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"testing"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// FuzzIgnore: no .dockerignore makes matching panic or hang.
func FuzzIgnore(f *testing.F) {
	for _, s := range []string{
		"*.md\n!README.md\n# comment\n", "**/node_modules\n/abs\n../out\n", "a/[b-\n", "!\n", "**\n!**/keep", "\xef\xbb\xbfbom\n\\#x\n", "?{1,2}+()^$|.\n",
	} {
		f.Add([]byte(s), "a/b/c.md")
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if len(data) > 4096 || len(name) > 1024 {
			return
		}
		start := time.Now()
		patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
		if err != nil || len(patterns) == 0 {
			return
		}
		m, err := patternmatcher.New(patterns)
		if err != nil {
			return
		}
		tr := &Tree{Ignore: m}
		_, _ = tr.ignored(name)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
