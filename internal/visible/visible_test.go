// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"plain text":                      "plain text",
		"Grüße, 世界, שלום, نص":             "Grüße, 世界, שלום, نص",
		"a\x1b[31mred\x1b[0m b":           "ared b",
		"a\x1b]0;title\x07b":              "ab",
		"a\x1b]8;;http://x\x1b\\b":        "ab",
		"a\x1bP1;2q\x1b\\b":               "ab",
		"a\x1b(0b\x1bcd":                  "abd",
		"a\u009b31mb":                     "ab",
		"a\u009d0;t\u009cb":               "ab",
		"a\x9b31mb":                       "a\ufffd31mb",
		"a\x00\x07\x08\x7fb":              "ab",
		"one\ntwo\r\nthree\tfour":         "one two  three four",
		"user\u202egpj.exe\u202c":         "usergpj.exe",
		"\u2066x\u2069\u200ey\u061c":      "xy",
		"lib\u200bc\u200d\u2060\ufeff6":   "libc6",
		"a\u3164b\u115fc\u034fd\u00ade":   "abcde",
		"tag\U000e0041\U000e0042s":        "tags",
		"line\u2028and\u2029more":         "lineandmore",
		"heart \u2764\ufe0f":              "heart \u2764\ufe0f",
		"e\u0301" + mark(40) + "x":        "e\u0301" + mark(5) + "x",
		"open\x1b[":                       "open",
		"text\x1b[" + "\x1b[1m" + "after": "textafter",
	} {
		if got := Line(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func mark(n int) string { return strings.Repeat("\u0300", n) }

func TestBounds(t *testing.T) {
	for in, want := range map[string]string{
		"12345":               "12345",
		"123456":              "1234…",
		"äöüßé":               "äöüßé",
		"äöüßéx":              "äöüß…",
		"12345\x1b[0m":        "12345",
		"1234\u200b5\u200b":   "12345",
		"\x1b[31m12345\u200b": "12345",
	} {
		if got := Bounded(in, 5); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := utf8.RuneCountInString(Line(strings.Repeat("x", 1<<20))); got != MaxLine {
		t.Errorf("a line of %d characters", got)
	}
	if got := Text(strings.Repeat("é\n", 1<<20)); len(got) > MaxText+len("…") || !strings.HasSuffix(got, "…") {
		t.Errorf("a text of %d bytes", len(got))
	}
	if got := Text("a\r\n\tb\x1b[2J\n"); got != "a\n\tb\n" {
		t.Errorf("%q", got)
	}
	// What never ends swallows so much and no more.
	if got := Line("a\x1b]" + strings.Repeat("x", maxSequence+1) + "END"); !strings.HasSuffix(got, "END") {
		t.Errorf("swallowed: %q", got)
	}
}

// hostile reports whether a terminal could do more with s than show it.
func hostile(s string) bool {
	marks := 0
	for _, r := range s {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || hidden(r) {
			return true
		}
		if marks++; r < 0x300 || r > 0x36f {
			marks = 0
		}
		if marks > maxMarks {
			return true
		}
	}
	return !utf8.ValidString(s)
}

func FuzzVisible(f *testing.F) {
	for _, s := range []string{"a\x1b[31mb", "\x9b\u009b", "\u202e\u200b", "a\xc3", "\x1b]\x1b\\", "e" + mark(9), `{"a":"\u202e` + "\u202e\"}"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, cut int) {
		line := Line(s)
		if hostile(line) || strings.ContainsAny(line, "\n\t") || utf8.RuneCountInString(line) > MaxLine {
			t.Errorf("line %q of %q", line, s)
		}
		if again := Line(line); again != line {
			t.Errorf("%q, again %q", line, again)
		}
		if text := Text(s); hostile(text) || len(text) > MaxText+len("…") {
			t.Errorf("text %q of %q", text, s)
		}
		// In whatever pieces it comes.
		cut = min(max(cut, 0), len(s))
		var whole, pieces bytes.Buffer
		one, two := Writer(&whole), Writer(&pieces)
		for w, parts := range map[*writer][]string{one.(*writer): {s}, two.(*writer): {s[:cut], s[cut:]}} {
			for _, p := range parts {
				if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
					t.Fatal(n, err)
				}
			}
		}
		if hostile(whole.String()) || whole.String() != pieces.String() {
			t.Errorf("written %q and %q of %q", whole.String(), pieces.String(), s)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{"\u202e", "\u009b31m", "\U000e0041", "\x7f", "plain", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(map[string]string{s: s})
		if err != nil {
			t.Skip(err)
		}
		safe := JSON(raw)
		if hostile(string(safe)) && !bytes.Contains(raw, []byte("\u0300")) && !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x300 && r <= 0x36f }) {
			t.Errorf("%q", safe)
		}
		var want, got map[string]string
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(safe, &got); err != nil {
			t.Fatalf("%q: %v", safe, err)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%q: %q", raw, safe)
			}
		}
	})
}
