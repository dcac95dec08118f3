// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package hint puts what a person can do about an error beside the error.
//
// New and Beside are for errors that are declared once, in the package whose errors they
// are; For finds the hint where the error is shown. With and Of carry a hint along with
// one occurrence of an error, to where its text is made.
package hint

import "errors"

// advised is an error with what to do about it.
type advised struct {
	error
	text string
}

// Unwrap gives access to the cause.
func (a *advised) Unwrap() error { return a.error }

// Hint says what to do. Errors with such a method of their own have a hint, too.
func (a *advised) Hint() string { return a.text }

// New is errors.New with a hint, which is not part of the error's text.
func New(text, hint string) error { return Beside(errors.New(text), hint) }

// Beside is New for an error that says more than a text: whose kind it is, for example.
func Beside(err error, hint string) error { return &advised{err, hint} }

// For returns the outermost hint of New, of Beside or of a method Hint in err; "" if
// there is none. An error that is a more special kind of another has the hint of its own.
func For(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}

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
