// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerfile

import (
	"fmt"

	"github.com/claude-pocket-console/cpc/internal/hint"
)

// unsupported is the error for what Dockerfiles may say and cpc cannot do yet.
func unsupported(what, instead string) error {
	err := fmt.Errorf("not supported yet: %s", what)
	if instead == "" {
		return err
	}
	return hint.With(err, instead)
}
