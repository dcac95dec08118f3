// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/claude-pocket-console/cpc/rootfs"
)

// maxValidator bounds what is kept, and sent again, of a server's own words.
const maxValidator = 1 << 10

// fetched is what the build cache keeps of a URL, so that a later build can ask
// whether it has changed instead of fetching it. It holds no content: the step
// that a file went into has that.
type fetched struct {
	ETag         string        `json:"etag,omitempty"`
	LastModified string        `json:"lastModified,omitempty"`
	Sum          digest.Digest `json:"sum"`
	// Time is the file's time of last change.
	Time time.Time `json:"time"`
}

// fetchedKey is where the cache keeps the answer to r. It differs with the
// credentials, as an answer may.
func fetchedKey(r *http.Request) digest.Digest {
	data, err := json.Marshal([]string{"ADD of a URL", r.URL.String(), r.Header.Get("Authorization")})
	if err != nil {
		panic(err) // strings are always JSON
	}
	return digest.FromBytes(data)
}

// fetchedOf is what an answer says of itself.
func fetchedOf(resp *http.Response) fetched {
	f := fetched{Time: time.Unix(0, 0)}
	modified := resp.Header.Get("Last-Modified")
	if t, err := http.ParseTime(modified); err == nil {
		f.Time, f.LastModified = t, modified
	}
	if tag := resp.Header.Get("ETag"); len(tag) <= maxValidator {
		f.ETag = tag
	}
	if resp.StatusCode != http.StatusOK || strings.Contains(strings.ToLower(resp.Header.Get("Cache-Control")), "no-store") {
		f.ETag, f.LastModified = "", ""
	}
	return f
}

// ask makes r a question whether there is anything new.
func (f *fetched) ask(r *http.Request) {
	switch {
	case f.ETag != "":
		r.Header.Set("If-None-Match", f.ETag)
	case f.LastModified != "":
		r.Header.Set("If-Modified-Since", f.LastModified)
	}
}

// fetchedBefore is what is known of a URL that an earlier build fetched.
func (s *stage) fetchedBefore(key digest.Digest) (f fetched, ok bool) {
	if s.noCache() {
		return f, false
	}
	entry, ok, err := s.b.Store.CacheGet(key)
	if err != nil || !ok {
		return f, false
	}
	if err := json.Unmarshal(entry.Config, &f); err != nil || f.Sum.Validate() != nil || f.Sum.Algorithm() != digest.SHA256 {
		return fetched{}, false
	}
	return f, f.ETag != "" || f.LastModified != ""
}

func (s *stage) rememberFetched(key digest.Digest, f fetched) error {
	if f.ETag == "" && f.LastModified == "" {
		return nil
	}
	config, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return s.b.Store.CachePut(key, rootfs.CacheEntry{Layer: rootfs.LayerDescriptor{Empty: true}, Config: config})
}
