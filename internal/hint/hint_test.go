// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestHint(t *testing.T) {
	err := fmt.Errorf("read f: %w", With(io.ErrUnexpectedEOF, "fetch it again"))
	if err.Error() != "read f: unexpected EOF" || !errors.Is(err, io.ErrUnexpectedEOF) || Of(err) != "fetch it again" {
		t.Errorf("%v, hint %q", err, Of(err))
	}
	if got := Of(io.EOF); got != "" {
		t.Errorf("a hint from nowhere: %q", got)
	}
}

func TestSpecialKindsHaveTheirOwnHint(t *testing.T) {
	general := New("no such image", "look at the list")
	special := Beside(fmt.Errorf("%w in the registry", general), "search there")
	for _, c := range []struct {
		err        error
		text, hint string
	}{
		{fmt.Errorf("%w: x", general), "no such image: x", "look at the list"},
		{fmt.Errorf("%w: x", special), "no such image in the registry: x", "search there"},
		{errors.Join(io.EOF, special), "EOF\nno such image in the registry", "search there"},
		{With(io.EOF, "of the other kind"), "EOF", ""},
		{io.EOF, "EOF", ""},
	} {
		if c.err.Error() != c.text || For(c.err) != c.hint {
			t.Errorf("%v, hint %q", c.err, For(c.err))
		}
	}
	if !errors.Is(special, general) || errors.Is(general, special) {
		t.Error("what is the special kind of the other is the wrong way round")
	}
}
