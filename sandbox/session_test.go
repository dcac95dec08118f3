// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

// What a start waits for is passed on, and is no reason to stop waiting.
func TestStartTellsWhatItWaitsFor(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		m := wire.New(there)
		for i := range int64(2) {
			_ = m.WriteJSON(wire.Busy, wire.BusyBody{What: "Unpacking", Done: i, Total: 9})
		}
		_ = m.WriteJSON(wire.Started, wire.StartedBody{PID: 7})
	}()
	var told []string
	s := &Session{conn: wire.New(here), busy: func(what string, done, total int64) { told = append(told, fmt.Sprint(what, done, total)) }}
	if err := s.awaitStart(); err != nil || s.PID != 7 || !slices.Equal(told, []string{"Unpacking0 9", "Unpacking1 9"}) {
		t.Errorf("%v, pid %d, told of %q", err, s.PID, told)
	}
}
