// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package bounded

import (
	"io"
	"os/exec"
	"strings"
	"testing"
)

// TestBuffer: whatever way the bytes come, only the first are kept. A program's output
// comes by io.Copy, which likes ReadFrom better than Write.
func TestBuffer(t *testing.T) {
	for name, fill := range map[string]func(*Buffer) error{
		"in one":       func(b *Buffer) error { _, err := b.Write([]byte("0123456789")); return err },
		"byte by byte": func(b *Buffer) error { return each("0123456789", b) },
		"copied":       func(b *Buffer) error { _, err := io.Copy(b, strings.NewReader("0123456789")); return err },
		"of a program": func(b *Buffer) error {
			cmd := exec.Command("sh", "-c", "printf 0123456789")
			cmd.Stdout, cmd.Stderr = b, b
			return cmd.Run()
		},
	} {
		for most, want := range map[int]string{0: "", 4: "0123", 10: "0123456789", 11: "0123456789"} {
			b := &Buffer{Most: most}
			if err := fill(b); err != nil || b.String() != want || string(b.Bytes()) != want || b.Over() != (most < 10) {
				t.Errorf("%s: the first %d bytes: %q, over %v, %v", name, most, b, b.Over(), err)
			}
		}
	}
}

func each(s string, w io.Writer) error {
	for i := range len(s) {
		if n, err := w.Write([]byte{s[i]}); n != 1 || err != nil {
			return err
		}
	}
	return nil
}
