// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/claude-pocket-console/cpc/netns/event"
)

// TestBytesOfDecisions: a number of bytes is printed where it is known, and "0
// bytes" only of one connection that moved none.
func TestBytesOfDecisions(t *testing.T) {
	for _, c := range []struct {
		e    event.Event
		want string
	}{
		{event.Event{Kind: event.Close, Name: "a.test", Port: 22, Duration: time.Second}, "a.test:22, 0 bytes sent, 0 received in 1s"},
		{event.Event{Kind: event.Close, Name: "a.test", Port: 22, Sent: 5, Received: 6, Count: 3}, "a.test:22, 3 times, 5 bytes sent, 6 received in all"},
		{event.Event{Kind: event.Close, Count: 77}, "close , 77 times"},
		{event.Event{Kind: event.Summary, Name: "a.test", Port: 22, Sent: 5, Count: 1}, "a.test:22, 1 connections, 5 bytes sent, 0 received in all"},
		{event.Event{Kind: event.DNS, Name: "a.test", Count: 3}, "a.test, 3 times"},
	} {
		if got := decisionLine(c.e); !strings.HasSuffix(got, c.want) || c.e.Count > 1 && strings.Contains(got, " 0 bytes") {
			t.Errorf("%+v: %q, want %q", c.e, got, c.want)
		}
	}
}
