// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sandbox is one that `cpc run` has started, with its gateway in its monitor, its
// limits and its system call filter. This program is its client, too.
type sandbox struct{ cpc, name, dns string }

const clientInside = "/home/sandbox/client"

func startSandbox(cpc, image string) (*sandbox, error) {
	s := &sandbox{cpc: cpc, name: fmt.Sprintf("bench-%d", os.Getpid())}
	args := []string{"run", "-d", "--rm", "--limits", "best-effort", "--name", s.name}
	for _, port := range []string{rawPort, httpPort} {
		for _, host := range []string{serverName, "*." + serverName, serverAddr} {
			args = append(args, "--egress", host+":"+port)
		}
	}
	if _, err := s.call(nil, append(args, image, "sleep", "600")...); err != nil {
		return nil, err
	}
	me, err := os.Open("/proc/self/exe")
	if err != nil {
		return s, err
	}
	defer me.Close()
	if _, err := s.call(me, "exec", "-i", s.name, "sh", "-c", "cat >"+clientInside+" && chmod 755 "+clientInside); err != nil {
		return s, err
	}
	conf, err := s.call(nil, "exec", s.name, "cat", "/etc/resolv.conf")
	for line := range strings.Lines(conf) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "nameserver" && s.dns == "" {
			s.dns = words[1]
		}
	}
	return s, err
}

func (s *sandbox) end() error {
	_, err := s.call(nil, "rm", "-f", s.name)
	return err
}

func (s *sandbox) call(input io.Reader, args ...string) (string, error) {
	cmd := exec.Command(s.cpc, args...)
	cmd.Stdin = input
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("cpc %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// measure runs the client in the sandbox.
func (s *sandbox) measure(m metric) (float64, error) {
	args := []string{"exec", "-e", envRole + "=" + asClient, "-e", "CPC_BENCH_DNS=" + s.dns, s.name, clientInside}
	out, err := s.call(nil, append(args, m.args...)...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(out, 64)
}

// compare prints what a connection costs through the gateway of a sandbox of
// `cpc run`, and from the host itself, in turn.
func compare(rounds int, cpc, image string) (err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if cpc, err = filepath.Abs(cpc); err != nil {
		return err
	}
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	s, err := startSandbox(cpc, image)
	if s != nil {
		defer func() {
			ended := s.end()
			err = errors.Join(err, ended)
		}()
	}
	if err != nil {
		return err
	}
	host := &contender{name: "host", w: w, pid: os.Getpid(), dns: serverAddr}
	for _, m := range metrics(time.Second)[4:8] {
		var direct, through, more, ratio []float64
		for range rounds {
			h, err := host.measure(m)
			if err != nil {
				return fmt.Errorf("host: %s: %w", m.name, err)
			}
			c, err := s.measure(m)
			if err != nil {
				return fmt.Errorf("sandbox: %s: %w", m.name, err)
			}
			direct, through, more, ratio = append(direct, h), append(through, c), append(more, c-h), append(ratio, c/h)
		}
		fmt.Fprintf(os.Stdout, "%s, %d rounds: host %.2f %s, sandbox %.2f, more %.2f (%.2f … %.2f), ratio %.2f (%.2f … %.2f)\n", m.name, rounds,
			at(direct, 0.5), m.unit, at(through, 0.5), at(more, 0.5), at(more, 0.25), at(more, 0.75), at(ratio, 0.5), at(ratio, 0.25), at(ratio, 0.75))
	}
	return nil
}
