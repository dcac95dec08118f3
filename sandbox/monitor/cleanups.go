// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package monitor

import "errors"

// cleanups are what takes down what was made.
type cleanups []func() error

func (c *cleanups) later(f func() error) { *c = append(*c, f) }

// run runs the cleanups, last first, each once, and goes on after a failure.
func (c *cleanups) run() error {
	var err error
	for len(*c) > 0 {
		last := (*c)[len(*c)-1]
		*c = (*c)[:len(*c)-1]
		failed := last()
		err = errors.Join(err, failed)
	}
	return err
}
