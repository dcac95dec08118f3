// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// Processes returns the ids of a container's processes, as this process sees
// them; none when it has ended.
func (r Runtime) Processes(id string) ([]int, error) {
	pids, err := r.states().processes(id)
	if err != nil {
		return nil, fmt.Errorf("ps %s: %w", id, err)
	}
	return pids, nil
}

func (d states) processes(id string) ([]int, error) {
	c, err := d.load(id)
	if err != nil {
		return nil, err
	}
	pids, err := c.Processes()
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("the container has no cgroup of its own to tell its processes by")
	}
	return pids, explainCgroup(err)
}

// ProcessTable returns what ps(1) of the host, called with args (none: -ef),
// says of a container's processes, with its header.
func (r Runtime) ProcessTable(id string, args []string) (string, error) {
	pids, err := r.Processes(id)
	if err != nil {
		return "", err
	}
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.Command("ps", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ps %s: %w: %s", id, err, strings.TrimSpace(string(out)))
	}
	table, err := onlyProcesses(string(out), pids)
	if err != nil {
		return "", fmt.Errorf("ps %s: %w", id, err)
	}
	return table, nil
}

// onlyProcesses keeps the header and the lines of these processes.
func onlyProcesses(table string, pids []int) (string, error) {
	header, rest, _ := strings.Cut(table, "\n")
	column := slices.Index(strings.Fields(header), "PID")
	if column < 0 {
		return "", errors.New("the output of ps has no column PID")
	}
	var b strings.Builder
	b.WriteString(header + "\n")
	for line := range strings.Lines(rest) {
		if slices.Contains(pids, pidIn(strings.Fields(line), column)) {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

// pidIn is the number in this column, or the first after it: any process of the
// host may have a name of several words, which puts the others off. 0 is none.
func pidIn(fields []string, column int) int {
	for i := column; i < len(fields); i++ {
		if pid, err := strconv.Atoi(fields[i]); err == nil {
			return pid
		}
	}
	return 0
}
