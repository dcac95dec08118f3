// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package runtime_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How many random bundles a setting tries, and from which seed on; a path of runc, to
// compare with that and not with libcontainer's init.
const (
	envRandom = "CPC_TEST_RANDOM"
	envSeed   = "CPC_TEST_SEED"
	envRunc   = "CPC_TEST_RUNC"
)

// Whatever a bundle says, the two ways of starting come to the same: the same error,
// or the same process, mounts, files and answers to signals. The bundles are random;
// a difference names the seed that makes it anew.
func TestStartSameRandom(t *testing.T) {
	inSettings(t, func(b *bench) {
		count, seed := 8, uint64(1)
		if n, err := strconv.Atoi(os.Getenv(envRandom)); err == nil {
			count = n
		}
		if n, err := strconv.ParseUint(os.Getenv(envSeed), 10, 64); err == nil {
			seed = n
		}
		made, begin := 0, time.Now()
		for i := range uint64(count) {
			if os.Getenv(envRandom) == "" && i >= 2 && time.Since(begin) > 5*time.Second {
				break // a slow machine
			}
			b.t.Run(fmt.Sprintf("seed=%d", seed+i), func(t *testing.T) {
				one, other := "long", "quick"
				if runc := os.Getenv(envRunc); runc != "" {
					one, other = runc, "named"
				}
				first, quick := b.outcome(t, seed+i, one), b.outcome(t, seed+i, other)
				if diff := differences(likeRunc(first), likeRunc(quick)); diff != "" {
					t.Errorf("seed %d:\n%s", seed+i, diff)
				}
				if !strings.HasPrefix(quick, "create: ") {
					made++
				}
			})
		}
		if made == 0 && time.Since(begin) < 5*time.Second {
			b.t.Error("no bundle could be made")
		}
	})
}

// outcome is all that can be told of a random container.
func (b *bench) outcome(t *testing.T, seed uint64, way string) string {
	t.Helper()
	t.Setenv(envLongWay, map[string]string{"long": "1"}[way])
	fresh := newBench(t, b.setting)
	fresh.use(way)
	fresh.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	if err := os.MkdirAll(filepath.Join(fresh.dir, "rootfs/host"), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh.file("host/file", "", 0o644)
	fresh.hookDir()
	random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // the same each time
	spec := fresh.spec(append([]string{"probe", "everything"}, ownNamespaces()...)...)
	g := generator{random, fresh}
	g.link()
	g.change(spec)
	joined := g.one(5)
	if joined && len(spec.Process.Args) > 1 {
		spec.Process.Args = []string{"probe", "sleep"}
	}
	fresh.own()
	defer fresh.noDefect(t)
	if g.one(5) && !spec.Process.Terminal {
		t.Cleanup(func() { fresh.must("delete", "--force", "same") })
		return fresh.plainly(fmt.Sprintf("%s\n%v", g.foreground(spec), fresh.said()))
	}
	fresh.write(spec)
	var masters <-chan *os.File
	flags := []string{"create"}
	if spec.Process.Terminal {
		socket := filepath.Join(fresh.dir, "socket")
		masters = console(t, socket)
		flags = append(flags, "--console-socket", socket)
	}
	if r := fresh.into("same", flags...); r.code != 0 {
		return fresh.plainly(fmt.Sprintf("create: %d %s\n%v\n", r.code, lastLine(r.stderr), fresh.said()))
	}
	t.Cleanup(func() { fresh.must("delete", "--force", "same") })
	var master *os.File
	if masters != nil {
		master = <-masters
		defer func() { _ = master.Close() }()
	}
	view := outsideView(t, fresh.state("same").Pid) + fresh.told()
	if g.one(4) {
		return fresh.plainly(view + g.stopCreated())
	}
	r := fresh.cli("start", "same")
	view += fmt.Sprintf("start: %d %s\n", r.code, r.stderr)
	if joined && r.code == 0 {
		view += g.join()
	}
	if master != nil {
		out, _ := io.ReadAll(master) // EIO is the end of a terminal
		view += string(out)
	}
	fresh.waitStatus("same", "stopped")
	files, err := exec.Command("find", filepath.Join(fresh.dir, "rootfs"), "-printf", "%P %y %m %U %G %s %l\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	view += fresh.output("same") + string(files)
	r = fresh.cli("delete", "same")
	return fresh.plainly(fmt.Sprintf("%sdelete: %d %s\n%v", view, r.code, r.stderr, fresh.said()))
}

// noDefect sees to it that no plan has failed where libcontainer then succeeded.
func (b *bench) noDefect(t *testing.T) {
	t.Helper()
	counts, err := os.ReadFile(filepath.Join(b.states, "@longway"))
	if err == nil && strings.Contains(string(counts), "plan-failed") {
		t.Error("the plan failed, and libcontainer did not")
	}
}

// likeRunc leaves out what is not runc's on purpose, should that be compared with.
func likeRunc(text string) string {
	if os.Getenv(envRunc) == "" {
		return text
	}
	for _, p := range [][2]string{
		// The flags of the host's devices in a user namespace, and the words for one that is missing.
		{`(?m)^(mount on \S+ device .* r[ow],)nosuid,noexec,(.*devtmpfs)`, "$1$2"},
		{`failed to fulfil mount request: open /[^ ]*: no such|configuring container /dev: error creating device nodes: .*MS_BIND: no such`, "a device"},
		// Poststop hooks after one that fails.
		{`\s*poststop-\d+(\.json \{.*\})?\n?`, ""},
		{`order\s+`, "order"},
		// The standard streams, which are pipes of runc's own: who owns them, and which cannot be given away.
		{`chown /dev/std\w+`, "chown a stream"},
		{`(?m)^fd [012] .*\n`, ""},
		// A directory as a command.
		{`(is a directory): permission denied`, "$1"},
		// Warnings of ambient capabilities, which are told apart from others, and addresses.
		{`(?m)(level=warning msg="can't raise ambient capability [^"]*"\n?|0x[0-9a-f]{6,})`, ""},
		// runc has each --additional-gids twice.
		{`(Groups:\s+5) 5 `, "$1 "},
	} {
		text = regexp.MustCompile(p[0]).ReplaceAllString(text, p[1])
	}
	return text
}

// use has commands go to this runtime: "long" and "quick" are ways of the one under
// test, "named" is that one by runc's name, and another is a path.
func (b *bench) use(way string) {
	b.t.Helper()
	switch way {
	case "long", "quick":
	case "named":
		own := b.runtime
		b.runtime = filepath.Join(b.dir, "runc")
		if err := os.Symlink(own, b.runtime); err != nil {
			b.t.Fatal(err)
		}
	default:
		b.runtime = way
	}
}

// plainly leaves out what differs from one container to the next.
func (b *bench) plainly(text string) string {
	for _, pair := range [][2]string{
		{regexp.QuoteMeta(b.dir), "BUNDLE"},
		{"/" + filepath.Base(b.dir), "BUNDLE"},
		{`fd/\d+`, "fd/N"},
		{`/tmp/runc(top|tmpdir)\d+(/runctmpdir\d+)?`, "TEMPORARY"},
		{`time="[^"]*" `, ""},
		{`"pid":\d+`, "PID"},
	} {
		text = regexp.MustCompile(pair[0]).ReplaceAllString(text, pair[1])
	}
	return text
}

// told is the state of the container, without what differs.
func (b *bench) told() string {
	var s map[string]any
	decode(b.t, b.must("state", "same").stdout, &s)
	for _, name := range []string{"pid", "created", "longWay"} {
		delete(s, name)
	}
	return fmt.Sprintln(s)
}

// hookDir is where hooks, also those that run as the container's root, may write.
func (b *bench) hookDir() {
	b.t.Helper()
	dir := filepath.Join(b.dir, "hooks")
	err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "order"), nil, 0o644))
	if err = errors.Join(err, os.Chmod(dir, 0o777), os.Chmod(filepath.Join(dir, "order"), 0o666)); err != nil {
		b.t.Fatal(err)
	}
}

// said is what hooks were told, by name.
func (b *bench) said() (all []string) {
	files, _ := filepath.Glob(filepath.Join(b.dir, "hooks/*"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, filepath.Base(file)+" "+string(data))
	}
	return all
}

// into is cli with the output in the container's file.
func (b *bench) into(id string, args ...string) result {
	b.t.Helper()
	out, err := os.Create(filepath.Join(b.dir, id+".out"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(b.runtime, append(append([]string{"--root", b.states}, args...), id)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, out, out
	_ = cmd.Run() // the status is looked at
	return result{code: cmd.ProcessState.ExitCode(), stderr: b.output(id)}
}
