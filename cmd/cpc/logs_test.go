// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/sandbox/logfile"
)

// TestTimesOfPartialLines prints lines of two streams in turn, piece by piece:
// each line has one time, at its start.
func TestTimesOfPartialLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdout, stderr := os.Stdout, os.Stderr
	t.Cleanup(func() { os.Stdout, os.Stderr = stdout, stderr })
	os.Stdout, os.Stderr = file, file
	p := &logPrinter{timestamps: true, midLine: map[bool]bool{}}
	for i, text := range []string{"a", "E\n", "b", "F", "c\nd\n", "G\n"} {
		e := logfile.Entry{Time: time.Unix(int64(i), 0).UTC(), Data: []byte(text)}
		if text[0] < 'a' {
			e.Stream = logfile.Stderr
		}
		if err := p.print(e); err != nil {
			t.Fatal(err)
		}
	}
	const at = "1970-01-01T00:00:0"
	want := at + "0Z a" + at + "1Z E\nb" + at + "3Z Fc\n" + at + "4Z d\nG\n"
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("printed %q, want %q (%v)", got, want, err)
	}
}
