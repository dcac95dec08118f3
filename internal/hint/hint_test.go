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
