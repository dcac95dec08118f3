// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package hint gives an error a sentence about what to do, from where the cause
// is known to where it is shown.
package hint

import "errors"

type hinted struct {
	error
	text string
}

// Unwrap gives access to the cause.
func (h *hinted) Unwrap() error { return h.error }

// With returns err with a hint, which is not part of its text.
func With(err error, text string) error { return &hinted{error: err, text: text} }

// Of returns the outermost hint of an error; "" if it has none.
func Of(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.text
	}
	return ""
}
