// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

// Command probe is the program in a sandbox that tries what no shell can. It
// prints lines of a name, a tab and a value.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		return
	}
	number := 0
	if len(os.Args) > 2 {
		number, _ = strconv.Atoi(os.Args[2])
	}
	switch os.Args[1] {
	case "calls":
		calls()
	case "files":
		files()
	case "ptrace":
		say("ptrace", unix.PtraceAttach(number))
		say("signal", unix.Kill(number, 0))
	case "memory":
		memory(number)
	case "forks":
		forks(number)
	case "spin":
		spin(time.Duration(number) * time.Millisecond)
	case "sleep":
		time.Sleep(time.Minute)
	}
}

// say prints an error by its short name; ok is none.
func say(name string, err error) {
	text := "ok"
	var e unix.Errno
	switch {
	case err == nil:
	case errors.As(err, &e):
		if text = unix.ErrnoName(e); text == "" {
			text = "ok" // errno 0
		}
	default:
		text = err.Error()
	}
	fmt.Printf("%s\t%s\n", name, text)
}

// memory takes and touches so many MiB, and says when it has them.
func memory(mib int) {
	held := make([][]byte, 0, mib)
	for range mib {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		held = append(held, block)
	}
	fmt.Printf("taken\t%d\n", len(held))
}

// forks starts up to so many processes that stay, prints how many it got and
// why no more, and ends them.
func forks(most int) {
	var started []*exec.Cmd
	var err error
	for len(started) < most {
		cmd := exec.Command("/proc/self/exe", "sleep")
		if err = cmd.Start(); err != nil {
			break
		}
		started = append(started, cmd)
	}
	fmt.Printf("started\t%d\n", len(started))
	say("then", err)
	for _, cmd := range started {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// spin keeps two threads busy and prints the processor time that they got.
func spin(d time.Duration) {
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range 2 {
		wg.Go(func() {
			for time.Now().Before(end) {
				for range 1000 {
				}
			}
		})
	}
	wg.Wait()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		say("spin", err)
		return
	}
	fmt.Printf("milliseconds\t%d\n", (u.Utime.Nano()+u.Stime.Nano())/1e6)
}
