// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command socat does of socat what podman's system tests use of it, where it is
// not installed: it hands datagrams of a Unix socket to a shell command each, and
// sends its standard input as one.
//
//	socat unix-recvfrom:PATH,fork system:COMMAND
//	socat -u STDIN unix-sendto:PATH
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "socat:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 {
		path, from := strings.CutPrefix(args[0], "unix-recvfrom:")
		command, to := strings.CutPrefix(args[1], "system:")
		if from && to {
			return receive(strings.TrimSuffix(path, ",fork"), command)
		}
	}
	if len(args) == 3 && args[0] == "-u" && strings.EqualFold(args[1], "stdin") {
		if path, to := strings.CutPrefix(args[2], "unix-sendto:"); to {
			return send(path)
		}
	}
	return errors.New("usage: socat unix-recvfrom:PATH,fork system:COMMAND, or socat -u STDIN unix-sendto:PATH")
}

func receive(path, command string) error {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	buffer := make([]byte, 1<<16)
	for {
		n, err := socket.Read(buffer)
		if err != nil {
			return err
		}
		shell := exec.Command("sh", "-c", command)
		shell.Stdin = bytes.NewReader(buffer[:n])
		shell.Stdout, shell.Stderr = os.Stdout, os.Stderr
		if err := shell.Run(); err != nil {
			return err
		}
	}
}

func send(path string) error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	socket, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = socket.Write(text)
	return errors.Join(err, socket.Close())
}
