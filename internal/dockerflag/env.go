// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package dockerflag

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxEnvFile bounds an --env-file, in bytes: no program could be started with
// more.
const maxEnvFile = 2 << 20

// LookupEnv is os.LookupEnv.
type LookupEnv func(name string) (string, bool)

// ParseEnv parses NAME=VALUE or NAME. The latter takes the value from lookup;
// where there is none NAME alone is returned, which stands for "unset".
func ParseEnv(s string, lookup LookupEnv) (string, error) {
	name, _, has := strings.Cut(s, "=")
	switch {
	case name == "":
		return "", fmt.Errorf("environment variable %q: the name is empty", s)
	case strings.ContainsRune(s, 0):
		return "", fmt.Errorf("environment variable %q: holds a NUL", s)
	case has:
		return s, nil
	}
	if value, ok := lookup(name); ok {
		return name + "=" + value, nil
	}
	return name, nil
}

// ParseEnvFile parses an --env-file as docker does: a variable a line, lines
// that start with # are comments, quotes and spaces in a value are part of it,
// and a NAME alone is taken from lookup, or left out.
func ParseEnvFile(r io.Reader, lookup LookupEnv) ([]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxEnvFile+1))
	if err != nil {
		return nil, fmt.Errorf("read environment file: %w", err)
	}
	if len(data) > maxEnvFile {
		return nil, fmt.Errorf("environment file: larger than %d bytes", maxEnvFile)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxEnvFile+1)
	for n := 1; lines.Scan(); n++ {
		e, err := envLine(lines.Text(), lookup)
		if err != nil {
			return nil, fmt.Errorf("environment file: line %d: %w", n, err)
		}
		if e != "" {
			out = append(out, e)
		}
	}
	return out, lines.Err()
}

func envLine(line string, lookup LookupEnv) (string, error) {
	const blank = " \t"
	line = strings.TrimLeft(line, blank)
	if line == "" || line[0] == '#' {
		return "", nil
	}
	if !utf8.ValidString(line) {
		return "", errors.New("not UTF-8")
	}
	name, _, has := strings.Cut(line, "=")
	switch {
	case name == "":
		return "", errors.New("no variable name before '='")
	case strings.ContainsAny(name, blank):
		return "", fmt.Errorf("variable %q contains white space", name)
	case strings.ContainsRune(line, 0):
		return "", errors.New("holds a NUL")
	case has:
		return line, nil
	}
	if value, ok := lookup(name); ok {
		return name + "=" + value, nil
	}
	return "", nil
}
