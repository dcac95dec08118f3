// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command helper is /bin/sh of the images that the tests build: one static
// binary that understands just enough. `sh -c LINE` runs commands separated by
// newlines, ";" and "&&", expands $NAME, and redirects the output with > FILE.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) != "sh" {
		args = append([]string{filepath.Base(os.Args[0])}, args...)
		os.Exit(command(args, os.Stdout))
	}
	if len(args) == 2 && args[0] == "-c" {
		os.Exit(script(args[1]))
	}
	os.Exit(command(args, os.Stdout))
}

func script(text string) int {
	code := 0
	for line := range strings.SplitSeq(strings.ReplaceAll(text, ";", "\n"), "\n") {
		for part := range strings.SplitSeq(line, "&&") {
			words := strings.Fields(os.ExpandEnv(part))
			if len(words) == 0 {
				continue
			}
			if code = redirected(words); code != 0 {
				break
			}
		}
	}
	return code
}

func redirected(words []string) int {
	i := slices.Index(words, ">")
	if i < 0 || i+1 >= len(words) {
		return command(words, os.Stdout)
	}
	f, err := os.OpenFile(words[i+1], os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	return command(words[:i], f)
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func command(w []string, out io.Writer) int {
	var err error
	switch w[0] {
	case "true":
	case "false":
		return 1
	case "echo":
		fmt.Fprintln(out, strings.Join(w[1:], " "))
	case "printf":
		var s string
		s, err = strconv.Unquote(`"` + w[1] + `"`)
		io.WriteString(out, s)
	case "err":
		fmt.Fprintln(os.Stderr, strings.Join(w[1:], " "))
	case "exit":
		n, _ := strconv.Atoi(w[1])
		os.Exit(n)
	case "env":
		env := os.Environ()
		slices.Sort(env)
		fmt.Fprintln(out, strings.Join(env, "\n"))
	case "pwd":
		var dir string
		dir, err = os.Getwd()
		fmt.Fprintln(out, dir)
	case "id":
		fmt.Fprintf(out, "%d:%d\n", os.Getuid(), os.Getgid())
	case "cat":
		var data []byte
		data, err = os.ReadFile(w[1])
		out.Write(data)
	case "mkdir":
		err = os.MkdirAll(w[1], 0o755)
	case "rm":
		err = os.RemoveAll(w[1])
	case "ln":
		err = os.Symlink(w[1], w[2])
	case "chown":
		var uid, gid int
		fmt.Sscanf(w[1], "%d:%d", &uid, &gid)
		err = os.Lchown(w[2], uid, gid)
	case "sleep":
		n, _ := strconv.Atoi(w[1])
		time.Sleep(time.Duration(n) * time.Second)
	default:
		if strings.Contains(w[0], "/") {
			err = syscall.Exec(w[0], w, os.Environ())
			break
		}
		fmt.Fprintf(os.Stderr, "%s: not found\n", w[0])
		return 127
	}
	if err != nil {
		return fail(err)
	}
	return 0
}
