// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/notation"
)

// remoteWords is the text of an error of the registry client with the words of Go's
// libraries for a request that failed replaced by what happened: which host, and why.
func remoteWords(err error) string {
	text := err.Error()
	walk(err, func(e error) {
		words := ""
		switch e := e.(type) { //nolint:errorlint // walk unwraps
		case *url.Error:
			words = requestWords(e)
		case *transport.Error:
			words = answerWords(e)
		case *json.SyntaxError:
			words = "the answer is " + notation.JSON(e).Error()
		}
		if words != "" {
			text = strings.ReplaceAll(text, e.Error(), words)
			text = strings.ReplaceAll(text, words+"; "+words, words) // with TLS and without
		}
	})
	return text
}

// walk calls f with an error and all that it wraps, the outermost first, but with
// nothing in what f has words for of its own.
func walk(err error, f func(error)) {
	f(err)
	switch e := err.(type) { //nolint:errorlint // this is what unwraps
	case *url.Error, *transport.Error:
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			walk(inner, f)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			walk(inner, f)
		}
	default: // the client's list of errors can be asked for one of a type only
		if list := reflect.ValueOf(err); list.Kind() == reflect.Slice {
			for i := range list.Len() {
				if inner, ok := reflect.TypeAssert[error](list.Index(i)); ok {
					walk(inner, f)
				}
			}
		}
	}
}

// requestWords says why a request has had no answer.
func requestWords(e *url.Error) string {
	host := e.URL
	if u, err := url.Parse(e.URL); err == nil && u.Host != "" {
		host = u.Host
	}
	return host + ": " + requestReason(e.Err)
}

func requestReason(err error) string {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case name.IsNotFound:
			return "no such host"
		case name.IsTimeout:
			return "the name server does not answer"
		}
		return "the name server says: " + name.Err
	}
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		return fmt.Sprintf("port %q: want a number up to 65535", number.Num)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if errno, ok := errors.AsType[unix.Errno](op); ok {
			return errno.Error()
		}
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return err.Error()
}

// answerWords says what a registry has answered.
func answerWords(e *transport.Error) string {
	asked := ""
	if r := e.Request; r != nil {
		asked = r.Method + " " + r.URL.Scheme + "://" + r.URL.Host + r.URL.Path + ": "
	}
	if len(e.Errors) == 0 {
		_, said, ok := strings.Cut(e.Error(), "unexpected status code ")
		if !ok {
			said = strconv.Itoa(e.StatusCode) + " " + http.StatusText(e.StatusCode)
		}
		said = strings.TrimSuffix(said, " (HEAD responses have no body, use GET for details)")
		return asked + said
	}
	var all []string
	for _, d := range e.Errors {
		all = append(all, strings.TrimSuffix(string(d.Code)+": "+d.Message, ": "))
	}
	return asked + strings.Join(all, "; ")
}
