// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON returns a JSON document that means the same, in which the characters that
// a terminal would obey or hide are written as \uXXXX. In a valid document they
// can only be within strings.
func JSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		switch {
		case r < utf8.RuneSelf && r != 0x7f:
			out = append(out, raw[0])
		case r == utf8.RuneError && size == 1:
			out = append(out, `\ufffd`...)
		case unicode.IsControl(r) || hidden(r):
			out = escaped(out, r)
		default:
			out = append(out, raw[:size]...)
		}
		raw = raw[size:]
	}
	return out
}

func escaped(out []byte, r rune) []byte {
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return escaped(escaped(out, high), low)
	}
	const digits = "0123456789abcdef"
	return append(out, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// JSONWriter returns a writer for an encoder of JSON that passes on what JSON
// makes of each document. A document must come in one piece, as json.Encoder
// writes it.
func JSONWriter(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ to io.Writer }

// Write implements io.Writer.
func (w jsonWriter) Write(p []byte) (int, error) {
	if _, err := w.to.Write(JSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
