// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestExplainInotify: the limit that is meant has its name in the error.
func TestExplainInotify(t *testing.T) {
	for err, want := range map[error]string{unix.EMFILE: "fs.inotify.max_user_instances", unix.ENOSPC: "fs.inotify.max_user_watches", unix.ENOMEM: ""} {
		got := ExplainInotify(err)
		if !errors.Is(got, err) || !strings.Contains(got.Error(), want) || want == "" && got.Error() != err.Error() {
			t.Errorf("%v: %v", err, got)
		}
	}
}
