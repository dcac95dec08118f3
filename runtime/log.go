// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/claude-pocket-console/cpc/internal/visible"
)

// Log says where messages go. Errors are on stderr in any case.
type Log struct {
	File   string // "" is stderr
	Format string // "text" or "json"; "" is text
	Debug  bool
	AsRunc bool // as runc has them, on stderr too
}

// Apply sets up logging of this process, libcontainer's included.
func (l Log) Apply() error {
	logrus.SetFormatter(plain{})
	switch l.Format {
	case "json":
		logrus.SetFormatter(&logrus.JSONFormatter{})
	case "", "text":
		if l.File != "" || l.Debug || l.AsRunc { // runc's, which callers look through
			logrus.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
		}
	default:
		return fmt.Errorf("log format %q: want text or json", l.Format)
	}
	if !l.Debug {
		logrus.SetFormatter(quiet{logrus.StandardLogger().Formatter})
	} else {
		logrus.SetLevel(logrus.DebugLevel)
	}
	if l.File == "" {
		return nil
	}
	f, err := os.OpenFile(l.File, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	logrus.SetOutput(f)
	return nil
}

// Report tells the user of an error: always on stderr as one line, and in the
// log if that is elsewhere.
func (l Log) Report(err error) {
	if l.AsRunc {
		logrus.Error(err)
		if l.File != "" {
			fmt.Fprintln(os.Stderr, visible.Error(err))
		}
		return
	}
	if l.File != "" || l.Format == "json" {
		logrus.Error(err)
	}
	if l.File != "" || l.Format != "json" {
		fmt.Fprintf(os.Stderr, "cpc-runtime: %s\n", visible.Error(err))
	}
}

// plain is the format on stderr.
type plain struct{}

// Format implements logrus.Formatter.
func (plain) Format(e *logrus.Entry) ([]byte, error) {
	return fmt.Appendf(nil, "cpc-runtime: %s: %s\n", e.Level, visible.Text(e.Message)), nil
}

// quiet leaves out what says nothing of a container, and would come before the
// error in a log of which podman expects but one line.
type quiet struct{ logrus.Formatter }

// Format implements logrus.Formatter.
func (q quiet) Format(e *logrus.Entry) ([]byte, error) {
	if e.Message == "unable to get oom kill count" { // that controller is not there
		return nil, nil
	}
	return q.Formatter.Format(e)
}
