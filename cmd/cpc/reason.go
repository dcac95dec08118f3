// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
)

// tellReason says why a sandbox, or a command in one, ended that did not end by itself,
// and which flag gives it more of the limit that it was.
func tellReason(w io.Writer, command, name, reason string) {
	if reason == "" {
		return
	}
	_, _ = fmt.Fprintf(w, "%s: %s %s\n", command, name, reason) // nobody to tell
	for _, limit := range []struct{ said, flag string }{
		{"limit of", "--pids-limit"},
		{"out of memory", "--memory"},
	} {
		if strings.Contains(reason, limit.said) {
			_, _ = fmt.Fprintf(w, "To allow more: cpc run %s NUMBER …; for a sandbox that runs, cpc update %s NUMBER NAME\n", limit.flag, limit.flag)
		}
	}
	if strings.Contains(reason, "files in memory (") {
		_, _ = fmt.Fprintln(w, "Files in memory stay when a program ends: remove some, or bound them with cpc run --tmpfs PATH:size=SIZE")
	}
}
