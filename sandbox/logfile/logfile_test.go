// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func collect(into *bytes.Buffer) func(Entry) error {
	return func(e Entry) error {
		into.Write(e.Data)
		return nil
	}
}

func TestBytesComeBackAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range 300 {
		p := bytes.Repeat([]byte{byte(i), '\n', 0, 0xff}, i)
		want.Write(p)
		if err := w.Append(Stdout, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := Read(dir, collect(&got)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Fatalf("read %d bytes, wrote %d, or they differ", got.Len(), want.Len())
	}
}

func TestSizeIsBounded(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 32<<10)
	for range 4 * MaxFile / len(chunk) {
		if err := w.Append(Stdout, chunk); err != nil {
			t.Fatal(err)
		}
	}
	var total int64
	for _, name := range []string{current, previous} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if limit := int64(2 * (MaxFile + 64<<10)); total > limit {
		t.Fatalf("log takes %d bytes, the limit is %d", total, limit)
	}
}

func TestFollowSeesTheLastByte(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ended atomic.Bool
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 2048)
	const chunks = 700 // several rotations
	var seen atomic.Int64
	go func() {
		for i := range chunks {
			_ = w.Append(Stdout, chunk)
			for i%100 == 0 && seen.Load() < int64(i*len(chunk)) && t.Context().Err() == nil {
				time.Sleep(poll) // the follower must keep up: rotation drops what is too old
			}
		}
		_ = w.Append(Stdout, []byte("the end"))
		ended.Store(true)
	}()
	var got bytes.Buffer
	if err := Follow(t.Context(), dir, ended.Load, func(e Entry) error {
		seen.Add(int64(len(e.Data)))
		return collect(&got)(e)
	}); err != nil {
		t.Fatal(err)
	}
	if want := chunks*len(chunk) + len("the end"); got.Len() != want || !strings.HasSuffix(got.String(), "the end") {
		t.Fatalf("followed %d bytes, want %d ending in \"the end\"", got.Len(), want)
	}
}

func TestTail(t *testing.T) {
	for _, tc := range []struct {
		writes []string
		n      int
		want   string
	}{
		{[]string{"a\nb\nc\n"}, 2, "b\nc\n"},
		{[]string{"a\nb\n", "c"}, 2, "b\nc"},
		{[]string{"a", "b", "c\n", "d\n"}, 1, "d\n"},
		{[]string{"a", "b", "c\n", "d\n"}, 2, "abc\nd\n"},
		{[]string{"a\n"}, 5, "a\n"},
		{[]string{"a\n"}, 0, ""},
		{nil, 3, ""},
	} {
		dir := t.TempDir()
		w, err := Create(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range tc.writes {
			if err := w.Append(Stdout, []byte(p)); err != nil {
				t.Fatal(err)
			}
		}
		var got bytes.Buffer
		if err := Tail(dir, tc.n, collect(&got)); err != nil {
			t.Fatal(err)
		}
		if got.String() != tc.want {
			t.Errorf("last %d lines of %q: %q, want %q", tc.n, tc.writes, got.String(), tc.want)
		}
	}
}
