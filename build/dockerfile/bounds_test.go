// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"strings"
	"testing"
)

// What a Dockerfile may cost is bounded before anything is done for it.
func TestBounds(t *testing.T) {
	for name, text := range map[string]string{
		"size":         "FROM scratch\n# " + strings.Repeat("x", MaxSize),
		"lines":        "FROM scratch\n" + strings.Repeat("\n", maxLines) + "LABEL a=b\n",
		"instructions": "FROM scratch\n" + strings.Repeat("LABEL a=b\n", maxInstructions),
		"stages":       strings.Repeat("FROM scratch\n", maxStages+1),
		"expansion":    "FROM scratch\nARG a=" + strings.Repeat("x", 4096) + "\nENV b=" + strings.Repeat("$a", 64) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := describe(text, "")
			_, message, ok := strings.Cut(got, "error: ")
			if !ok {
				t.Fatalf("no error, but %s", got[:min(len(got), 400)])
			}
			if len(message) > 4096 {
				t.Errorf("the error has %d bytes", len(message))
			}
			t.Log(message)
		})
	}
}
