// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/claude-pocket-console/cpc/internal/idmap"
	"github.com/claude-pocket-console/cpc/internal/modetest"
)

// validating is a server of one file, and what it was asked.
type validating struct {
	mu             sync.Mutex
	tag, modified  string
	body           string
	header         map[string]string
	asked, sent    int
	lastConditions string
}

func (v *validating) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	match, since := r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since")
	v.lastConditions = match + since
	for name, value := range v.header {
		w.Header().Set(name, value)
	}
	if v.tag != "" {
		w.Header().Set("ETag", v.tag)
	}
	if v.modified != "" {
		w.Header().Set("Last-Modified", v.modified)
	}
	if match != "" && match == v.tag || match == "" && since != "" && since == v.modified {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	v.sent++
	fmt.Fprint(w, v.body, r.Header.Get("Authorization"))
}

// build looks for content in what line gives, and counts what was asked and sent.
func (v *validating) build(t *testing.T, b *bed, line, content string, change func(*Options)) (asked, sent int) {
	t.Helper()
	before, had := v.asked, v.sent
	dir := b.context(t, txtar.File{Name: "Dockerfile", Data: []byte("FROM base\n" + line + "\n")})
	img, _ := b.rebuild(t, dir, change)
	var out strings.Builder
	b.describe(t, &out, img)
	if !strings.Contains(out.String(), fmt.Sprintf("%q", content)) {
		t.Errorf("%s: got\n%swant %q", line, out.String(), content)
	}
	return v.asked - before, v.sent - had
}

// TestAddRevalidates: what has not changed is not fetched again, and what has is.
func TestAddRevalidates(t *testing.T) {
	buildHelper(t)
	modetest.Some(t, []idmap.Mode{idmap.Mapped}, func(t *testing.T, m idmap.Mapping) {
		b := newBed(t, m)
		b.makeBase(t)
		noCache := func(o *Options) { o.NoCache = true }
		token := func(o *Options) { o.Secrets = map[string]Secret{"HTTP_AUTH_TOKEN_127.0.0.1": SecretValue("x")} }
		type step struct {
			what, line, content string
			change              func(*validating)
			option              func(*Options)
			asked, sent         int
		}
		checked := "ADD --checksum=" + digest.FromString("one").String() + " %s /f"
		for name, steps := range map[string][]step{
			"etag": {
				{what: "first", content: "one", asked: 1, sent: 1},
				{what: "again", content: "one", asked: 1},
				{what: "into another place", line: "ADD %s /g", content: "one", asked: 2, sent: 1},
				{what: "a changed tag", content: "two", change: func(v *validating) { v.tag, v.body = `"2"`, "two" }, asked: 1, sent: 1},
				{what: "which is known then", content: "two", asked: 1},
				{what: "a changed tag of the same", content: "two", change: func(v *validating) { v.tag = `W/"3"` }, asked: 1, sent: 1},
				{what: "a weak tag", content: "two", asked: 1},
				{what: "without cache", content: "two", option: noCache, asked: 1, sent: 1},
				{what: "with other credentials", content: "twoBearer x", option: token, asked: 1, sent: 1},
				{what: "unpacked if it were an archive", line: "ADD --unpack=true %s /f", content: "two", asked: 1, sent: 1},
			},
			"time": {
				{what: "first", content: "one", change: func(v *validating) { v.tag, v.modified = "", "Sat, 08 Sep 2001 01:46:40 GMT" }, asked: 1, sent: 1},
				{what: "again", content: "one", asked: 1},
				{what: "later", content: "two", change: func(v *validating) { v.modified, v.body = "Sun, 09 Sep 2001 01:46:40 GMT", "two" }, asked: 1, sent: 1},
			},
			"neither": {
				{what: "first", content: "one", change: func(v *validating) { v.tag = "" }, asked: 1, sent: 1},
				{what: "again", content: "one", asked: 1, sent: 1},
			},
			"huge tag": {
				{what: "first", content: "one", change: func(v *validating) { v.tag = `"` + strings.Repeat("x", 2000) + `"` }, asked: 1, sent: 1},
				{what: "again", content: "one", asked: 1, sent: 1},
			},
			"not to be kept": {
				{what: "first", content: "one", change: func(v *validating) { v.header = map[string]string{"Cache-Control": "private, No-Store"} }, asked: 1, sent: 1},
				{what: "again", content: "one", asked: 1, sent: 1},
			},
			"checksum": {
				{what: "first", line: checked, content: "one", asked: 1, sent: 1},
				{what: "again, without the server", line: checked, content: "one", change: func(v *validating) { v.body = "gone" }},
			},
		} {
			v := &validating{tag: `"1"`, body: "one"}
			server := httptest.NewServer(v)
			for _, s := range steps {
				if s.change != nil {
					s.change(v)
				}
				if s.line == "" {
					s.line = "ADD %s /f"
				}
				asked, sent := v.build(t, b, strings.Replace(s.line, "%s", server.URL+"/file", 1), s.content, s.option)
				if asked != s.asked || sent != s.sent {
					t.Errorf("%s, %s: asked %d times and sent %d, want %d and %d (last condition %q)", name, s.what, asked, sent, s.asked, s.sent, v.lastConditions)
				}
			}
			server.Close()
		}
		b.nothingLeft(t)
	})
}
