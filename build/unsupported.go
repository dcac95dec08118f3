// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package build

import "fmt"

// unsupported is the error for what Dockerfiles may say and cpc cannot do yet.
func unsupported(what, hint string) error {
	err := fmt.Errorf("not supported yet: %s", what)
	if hint == "" {
		return err
	}
	return withHint(err, hint)
}
