// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/claude-pocket-console/cpc/build/files"
)

// TestOwnerNumbers: a number is an id, whatever names the image has given.
func TestOwnerNumbers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": "1001:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\napp:x:7:8::/:/bin/sh\n",
		"group":  "1001:x:0:\n4294967296:x:0:\nstaff:x:50:\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image, err := files.Open(dir, "the image")
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	for spec, want := range map[string][2]uint32{
		"1001": {1001, 1001}, "1001:1001": {1001, 1001}, "app": {7, 8}, "app:staff": {7, 50}, "app:1001": {7, 1001}, ":1001": {0, 1001},
		"4294967294": {4294967294, 4294967294},
	} {
		if got, err := resolveOwner(image, spec); err != nil || got != (files.Owner{UID: want[0], GID: want[1]}) {
			t.Errorf("%s: %v, %v; want %v", spec, got, err, want)
		}
	}
	for _, spec := range []string{"4294967296", "4294967295", "app:4294967296", "app:4294967295", ":99999999999999999999"} {
		if got, err := resolveOwner(image, spec); err == nil {
			t.Errorf("%s: %v", spec, got)
		}
	}
}
