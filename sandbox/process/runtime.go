// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/claude-pocket-console/cpc/internal/bounded"
	"github.com/claude-pocket-console/cpc/internal/hint"
	"github.com/claude-pocket-console/cpc/internal/ownfile"
)

// Runtime drives an OCI runtime by its published command line, so that any will do.
type Runtime struct {
	Path string // the program
	Dir  string // of the sandbox, also the working directory; holds bundle/
	ID   string // of the container
	// KeepKeyring gives the container this process's session keyring.
	KeepKeyring bool

	runs atomic.Int64 // numbers log files
}

var (
	// ErrNotFound is what a shell reports as 127.
	ErrNotFound = hint.New("command not found",
		"See which commands the image has, for example with: cpc run --rm IMAGE ls /usr/bin")
	// ErrNotExecutable is what a shell reports as 126.
	ErrNotExecutable = hint.New("command cannot be executed",
		"The file exists but cannot be executed. Check its mode and, for a script, its first line.")
	// ErrNoAnswer reports that the runtime had to be killed, because it took too
	// long or because its sandbox has ended.
	ErrNoAnswer = errors.New("the runtime did not come to an end")
	// ErrStopped reports that what runs in the sandbox has stopped a process that
	// was to join it. It was killed.
	ErrStopped = hint.New("the sandbox has stopped a process that was to join it",
		"A process of user 0 in the sandbox stopped it. End the sandbox with: cpc kill NAME")
	// ErrWorkdir reports a working directory that cannot be entered.
	ErrWorkdir = hint.New("working directory",
		"Use --workdir with a directory that exists, or create the directory with WORKDIR in the Dockerfile.")
)

const pidFile = "pid"

// maxPIDFile bounds a pid file, which has a number and maybe a newline.
const maxPIDFile = 64

// IsOwn says whether a runtime is cpc's.
func IsOwn(path string) bool { return filepath.Base(path) == "cpc-runtime" }

// How long a runtime may take. What runs in a sandbox can stop the processes
// that join it, and hold them up for ever.
const (
	runtimeTakes = time.Minute
	execTakes    = 9 * time.Second
)

// run runs one runtime command to its end, or kills it when ctx is done. Its standard streams are those of
// the new program where there is one, so its own words go to a log file.
func (o *Runtime) run(ctx context.Context, files [3]*os.File, args ...string) error {
	_, err := o.ran(ctx, files, args...)
	return err
}

// ran is run, and tells what else the runtime has logged.
func (o *Runtime) ran(ctx context.Context, files [3]*os.File, args ...string) (logged, error) {
	log := fmt.Sprintf("runtime-%d.log", o.runs.Add(1))
	_ = os.Remove(filepath.Join(o.Dir, log)) // what is there is not to be waited for
	global := []string{"--root", o.stateDir(), "--log", filepath.Join(o.Dir, log), "--log-format", "json"}
	takes := runtimeTakes
	if args[0] == "exec" {
		takes = execTakes
	}
	ctx, cancel := context.WithTimeout(ctx, takes)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.Path, append(global, args...)...) //nolint:gosec // the configured runtime
	cmd.WaitDelay = time.Second                                         // what it started may hold its standard error
	held := &joining{takes: joinTakes, kill: cancel}
	cmd.Cancel = func() error { return held.killAll(cmd.Process.Pid) }
	cmd.Dir = o.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	said := bounded.Buffer{Most: 64 << 10}
	if files[2] == nil {
		cmd.Stderr = &said
	}
	err := cmd.Start()
	if err == nil {
		stop := held.watch(cmd.Process.Pid)
		err = cmd.Wait()
		stop()
		held.reap()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it did its work
	}
	told := readLog(filepath.Join(o.Dir, log))
	_ = os.Remove(filepath.Join(o.Dir, log))
	if err == nil {
		return told, nil
	}
	if held.stopped.Load() {
		return told, fmt.Errorf("runtime %s: %w", args[0], ErrStopped)
	}
	if late := ctx.Err(); late != nil {
		return told, fmt.Errorf("runtime %s: %w: %w", args[0], late, ErrNoAnswer)
	}
	return told, o.failed(args[0], cmp.Or(told.err, strings.TrimSpace(said.String())), err)
}

// failed is the error of a runtime's command that failed, with its words.
func (o *Runtime) failed(op, why string, err error) error {
	why = cmp.Or(why, err.Error())
	why = strings.TrimPrefix(why, op+" "+o.ID+": ")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		switch exit.ExitCode() { // cpc-runtime's; other runtimes exit 1
		case 127:
			return fmt.Errorf("%w: %s", ErrNotFound, about(why))
		case 126:
			return fmt.Errorf("%w: %s", ErrNotExecutable, about(why))
		}
	}
	return classify(op, why)
}

// classify gives a runtime's failure its meaning. Runtimes report a command
// that is missing or cannot run in the words of the C library.
func classify(op, why string) error {
	err := errors.New(plain(why))
	if strings.Contains(why, "has stopped the process that was to become") { // cpc-runtime's words
		return fmt.Errorf("runtime %s: %w", op, ErrStopped)
	}
	if op != "create" && op != "exec" && op != "start" {
		return fmt.Errorf("runtime %s: %w", op, err)
	}
	lower := strings.ToLower(why)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(lower, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("executable file not found", "exec: no command"),
		has("exec", "stat ") && has("no such file or directory", "not a directory") && !has("mount", "rootfs", "chdir", "cwd"):
		return fmt.Errorf("%w: %s", ErrNotFound, about(why))
	case has("exec") && has("permission denied", "exec format error", "is a directory", "too many levels of symbolic links",
		"file name too long") && !has("mount", "chdir", "cwd"):
		return fmt.Errorf("%w: %s", ErrNotExecutable, about(why))
	}
	if _, dir, ok := strings.Cut(why, "chdir to cwd ("); ok {
		dir, cause, _ := strings.Cut(dir, ") set in config.json failed: ")
		return fmt.Errorf("%w %s: %s", ErrWorkdir, dir, cause)
	}
	return fmt.Errorf("runtime %s: %w", op, err)
}

// plain leaves out where in its work the runtime was, and the numbers that only it
// knows: the cause is what a person can do something about.
func plain(why string) string {
	for _, stage := range []string{"unable to start container process: ", "error during container init: "} {
		if _, cause, ok := strings.Cut(why, stage); ok {
			why = cause
		}
	}
	mount := regexp.MustCompile(`^error mounting "(.*?)" to rootfs at "(.*?)": mount src=.*: ([^:]+)$`)
	return mount.ReplaceAllString(why, `mount $1 on $2: $3`)
}

// about leaves out what a runtime says before the command: that it was in the
// middle of starting one is no news.
func about(why string) string {
	if i := strings.LastIndex(why, "exec: "); i >= 0 {
		return why[i+len("exec: "):]
	}
	return why
}

// logged is what a runtime has said in its log.
type logged struct {
	err     string // the last error
	longWay string // why cpc-runtime has started a process by libcontainer's own init
}

// readLog reads a runtime's JSON log.
func readLog(file string) (told logged) {
	f, err := ownfile.Open(file)
	if err != nil {
		return told
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var line struct{ Level, Msg, LongWay string }
		if json.Unmarshal(s.Bytes(), &line) != nil {
			continue
		}
		if line.Level == "error" || line.Level == "fatal" {
			told.err = line.Msg
		}
		told.longWay = cmp.Or(line.LongWay, told.longWay)
	}
	return told
}

// consoleSocket is the path of a console socket for the runtime. Some (runc)
// change to the bundle before they connect, so it is absolute, unless it is too
// long for an address: cpc-runtime takes it from where it was started.
func (o *Runtime) consoleSocket(name string) string {
	const longest = len(unix.RawSockaddrUnix{}.Path) - 1
	if path := filepath.Join(o.Dir, name); filepath.IsAbs(path) && len(path) <= longest {
		return path
	}
	return name
}

// Start lets the program of a container that was made run.
func (o *Runtime) Start(ctx context.Context) error { return o.run(ctx, [3]*os.File{}, "start", o.ID) }

// Delete removes the container, killing what is left of it, and what the runtime
// has left mounted in its state directory (runsc does after a create that failed), so that the
// directory can be removed.
func (o *Runtime) Delete(ctx context.Context) error {
	err := o.run(ctx, [3]*os.File{}, "delete", "--force", o.ID)
	return errors.Join(err, unmountBelow(o.stateDir()))
}

// stateDir is where the runtime keeps its containers' states.
func (o *Runtime) stateDir() string { return filepath.Join(o.Dir, "runtime") }

// Update gives the container the OCI resources in the named file.
func (o *Runtime) Update(ctx context.Context, file string) error {
	return o.run(ctx, [3]*os.File{}, "update", "--resources", file, o.ID)
}

// Pause stops all of the container's processes, Resume lets them go on.
func (o *Runtime) Pause(ctx context.Context) error { return o.run(ctx, [3]*os.File{}, "pause", o.ID) }

// Resume is the opposite of Pause.
func (o *Runtime) Resume(ctx context.Context) error { return o.run(ctx, [3]*os.File{}, "resume", o.ID) }

func (o *Runtime) takePID(name string) (int, error) {
	file := filepath.Join(o.Dir, name)
	raw, err := ownfile.Read(file, maxPIDFile)
	if err != nil {
		return 0, fmt.Errorf("%s did not say which process it started (%s): is it an OCI runtime?", o.Path, name)
	}
	_ = os.Remove(file)
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("runtime's pid file: %q is not a pid", raw)
	}
	return pid, nil
}
