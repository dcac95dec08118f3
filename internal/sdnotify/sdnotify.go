// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Package sdnotify tells systemd, in a unit of Type=notify, how far a service
// is (sd_notify(3)). The socket is named by an environment variable that every
// child inherits; [Take] removes it, because an OCI runtime that finds it would
// hand the socket to the program in the sandbox. Nothing is held open.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strings"
)

const variable = "NOTIFY_SOCKET"

// Notifier is where systemd listens; the zero value tells nobody.
type Notifier struct{ socket string }

// Take finds the notifier of this process, and keeps it from its children.
func Take() Notifier {
	n := Notifier{socket: os.Getenv(variable)}
	_ = os.Unsetenv(variable) // fails on an empty name only
	return n
}

// Send sends assignments such as "READY=1", one a string. Line feeds in a value
// become spaces: they would start another assignment.
func (n Notifier) Send(assignments ...string) error {
	if n.socket == "" {
		return nil
	}
	for i, a := range assignments {
		assignments[i] = strings.ReplaceAll(a, "\n", " ")
	}
	// A leading @ is an abstract name, to net as well.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	return nil
}
