// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func zipped(tb testing.TB, content string) string {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, content); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// What was compressed for the way is read as what it is, and layers, which are of
// gzip themselves, stay so.
func TestDecoder(t *testing.T) {
	document, layer := `{"schemaVersion":2}`+strings.Repeat(" ", 10_000), zipped(t, "a layer"+strings.Repeat("x", 10_000))
	for what, c := range map[string]struct{ path, encoding, sent, want, fails string }{
		"plain":                {"/v2/x/manifests/1", "", document, document, ""},
		"gzip":                 {"/v2/x/manifests/1", "gzip", zipped(t, document), document, ""},
		"gzip by its old name": {"/v2/x/manifests/1", "X-Gzip", zipped(t, document), document, ""},
		"a token":              {"/token", "gzip", zipped(t, `{"token":"x"}`), `{"token":"x"}`, ""},
		"a configuration":      {"/v2/x/blobs/1", "gzip", zipped(t, document), document, ""},
		"a layer":              {"/v2/x/blobs/1", "gzip", layer, layer, ""},
		"a layer of no gzip":   {"/v2/x/blobs/1", "gzip", "a layer", "a layer", ""},
		"an empty blob":        {"/v2/x/blobs/1", "gzip", "", "", ""},
		"no gzip":              {"/v2/x/manifests/1", "gzip", document, "", "not of gzip"},
		"cut off":              {"/v2/x/manifests/1", "gzip", zipped(t, document)[:30], "", "unexpected EOF"},
		"another":              {"/v2/x/manifests/1", "br", "x", "", `"br"`},
		"a layer in another":   {"/v2/x/blobs/1", "zstd", "a layer", "a layer", ""},
	} {
		t.Run(what, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.encoding != "" {
					w.Header().Set("Content-Encoding", c.encoding)
				}
				_, _ = io.WriteString(w, c.sent)
			}))
			defer srv.Close()
			client := &http.Client{Transport: decoder{&http.Transport{DisableCompression: true}}}
			resp, err := client.Get(srv.URL + c.path)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("%v, want %q", err, c.fails)
				}
				return
			}
			if err != nil || string(got) != c.want {
				t.Errorf("%d bytes, want %d: %v", len(got), len(c.want), err)
			}
		})
	}
}
