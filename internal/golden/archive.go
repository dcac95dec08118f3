// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package golden

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// EnvUpdate stands for -update in a process that a test starts.
const EnvUpdate = "CPC_TEST_UPDATE"

// Updating reports whether golden files are written anew.
func Updating() bool { return *update || os.Getenv(EnvUpdate) != "" }

// Section is a file of an archive, "" without one of that name.
func Section(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// Want compares got, with a line end, with the section "want" of ar, which was
// read from file.
func Want(t *testing.T, file string, ar *txtar.Archive, got string) {
	t.Helper()
	if !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	if Updating() {
		for i := range ar.Files {
			if ar.Files[i].Name == "want" {
				ar.Files[i].Data = []byte(got)
			}
		}
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := Section(ar, "want"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
